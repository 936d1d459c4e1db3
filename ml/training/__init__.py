"""From labelled rows to a calibrated model with an interval."""
