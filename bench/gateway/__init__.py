"""The gateway beside floors and peers: one machine, one mock upstream, one load generator, interleaved rounds."""
