"""Published networks as plain torch modules, one file each."""
