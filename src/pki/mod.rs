//! Certificates and keys: the cluster's CA, server and client certificates, the service account signing key.
