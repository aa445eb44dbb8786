"""What a run leaves behind: its folder, tables, TensorBoard, locks, provenance."""
