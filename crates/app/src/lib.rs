//! The drover binary and library: wires adapters to ports, serves, migrates, and speaks as a client.
