"""Who signed what, and who may read it: identities, signed versions, sealed bytes, links."""
