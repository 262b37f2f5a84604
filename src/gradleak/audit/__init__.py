"""An audit: what attacks find out from the updates of a user's own model, images, client and post-processing."""
