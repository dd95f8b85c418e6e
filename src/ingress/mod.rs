//! HTTP(S) routes (pure) and the proxy that serves them. Not built yet.
