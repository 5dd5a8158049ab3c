//! A real fleet on loopback: demo applications, agents, HAProxy, load and the report.

pub mod address;
pub mod api;
pub mod application;
pub mod artifact;
pub mod demo;
pub mod fleet;
pub mod haproxy;
pub mod http;
pub mod load;
pub mod postgres;
pub mod process;
pub mod report;
pub mod scene;
pub mod screen;
pub mod tools;
pub mod update;
pub mod wait;
pub mod watcher;
