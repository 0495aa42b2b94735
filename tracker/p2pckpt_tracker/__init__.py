"""The p2pckpt tracker: announces peers, decides who may take part, keeps each share's signed files."""

__version__ = "0.1.0"
