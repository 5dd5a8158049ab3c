//! A real fleet on loopback: demo applications, agents, HAProxy, load and the report.

pub mod address;
pub mod application;
pub mod artifact;
pub mod balancer;
pub mod fleet;
pub mod http;
pub mod load;
pub mod process;
pub mod screen;
pub mod tools;
pub mod wait;
pub mod watcher;
