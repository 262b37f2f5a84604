"""gradleak: when do gradient inversion attacks work in federated learning?"""

__version__ = "0.1.1"
