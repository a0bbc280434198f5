mod notify;
pub mod watch;
