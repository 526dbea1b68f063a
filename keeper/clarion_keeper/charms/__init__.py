"""Gets spells onto Bitcoin: proven, paid for, signed and sent."""
