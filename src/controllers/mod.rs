//! Controllers: each decides in a pure function; the driver does the talking.
