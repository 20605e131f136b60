"""The host nodes, asked over SSH."""
