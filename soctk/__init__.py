"""Speech emotion recognition on frozen speech encoders, with second-order pooling and the log-Euclidean map."""

__version__ = "0.1.0"
