"""Speech emotion recognition on frozen speech encoders, with second-order pooling and the log-Euclidean map."""
