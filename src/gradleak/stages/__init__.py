"""The pipeline's stages: each reads files of the stage before and writes its own, atomically."""
