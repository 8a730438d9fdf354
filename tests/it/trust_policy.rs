//! What does `trust-policy` print, and exit with?
