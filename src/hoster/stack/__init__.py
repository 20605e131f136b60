"""Pulumi components: what a client's declaration becomes on the host nodes."""
