"""The checkpoint families that can be loaded and saved, one file each."""
