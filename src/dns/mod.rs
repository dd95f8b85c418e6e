//! Cluster DNS: records (pure), answers (pure), forwarding.
