"""What several tests share: synthetic chains and a toy protocol."""
