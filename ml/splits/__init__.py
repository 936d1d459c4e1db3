"""Which sessions may teach, calibrate and test: purged, embargoed, walking forward."""
