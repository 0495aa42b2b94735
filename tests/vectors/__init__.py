"""Language-neutral test vectors of the formats in docs/format.md, and the scripts that write them."""
