//! The cgroup that programs of sockets are attached to, and what they know namespaces by.

use std::{
    fs::{self, File},
    net::UdpSocket,
};

use nix::{getsockopt_impl, libc, sockopt_impl, sys::socket::GetSockOpt as _};

sockopt_impl!(
    /// `SO_NETNS_COOKIE`, Linux 5.14.
    NetnsCookie,
    GetOnly,
    libc::SOL_SOCKET,
    libc::SO_NETNS_COOKIE,
    u64
);

/// The root of the cgroup2 hierarchy.
pub fn cgroup2() -> File {
    let mounts = fs::read_to_string("/proc/thread-self/mounts").expect("there are mounts");
    let mut mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let cgroup2 = mounts.find(|words| words.get(2) == Some(&"cgroup2"));
    let path = cgroup2.and_then(|words| words.get(1).copied()).expect("a cgroup2 is mounted");
    File::open(path).expect("opening the cgroup")
}

/// The cookie of the calling thread's network namespace, whose loopback interface is up.
pub fn netns_cookie() -> u64 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    NetnsCookie.get(&socket).expect("Linux 5.14")
}
