use std::fs;

use super::{super::cleanup, *};

/// What `ip` and the kernel's settings say of the node.
fn snapshot() -> (Value, Value, Value, Vec<String>) {
    let settings = ["ipv4/ip_forward", "ipv6/conf/all/forwarding"];
    let settings =
        settings.map(|path| fs::read_to_string(format!("/proc/sys/net/{path}")).unwrap());
    (ip("addr show"), ip("route show table all"), ip("-6 route show table all"), settings.to_vec())
}

fn files_below(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn removal_takes_the_pair_even_while_a_process_holds_the_namespace() {
    on_node(|node| async move {
        let a = node.pod("a", &["192.168.1.2"]).await;
        let held = File::open("/run/netns/default.a").unwrap();
        node.podnet.remove_pod(&a.pod).await.unwrap();
        node.podnet.remove_pod(&a.pod).await.unwrap();
        assert!(!Path::new("/run/netns/default.a").exists());
        assert!(!Path::new("/etc/netns/default.a").exists());
        assert!(node.podnet.list().0.is_empty());
        let links = ip("link show");
        let names: Vec<_> = links.as_array().unwrap().iter().map(|link| &link["ifname"]).collect();
        assert!(names.iter().all(|name| !name.as_str().unwrap().starts_with("veth")), "{names:?}");
        let left = thread::spawn(move || {
            setns(held, CloneFlags::CLONE_NEWNET).unwrap();
            ip("link show").as_array().unwrap().len()
        });
        assert_eq!(left.join().unwrap(), 1, "only lo is left inside");
        // The name is free for the next pod while the old namespace lives on.
        node.pod("a", &["192.168.1.2"]).await;
    });
}

#[test]
fn a_namespace_that_shunt_did_not_make_is_refused_and_stays() {
    on_node(|node| async move {
        run("ip", &["netns", "add", "default.a"]);
        let error = node.try_pod("a", &["192.168.1.2"]).await.unwrap_err();
        assert!(error.to_string().contains("/run/netns/default.a"), "{error}");
        node.podnet.remove_pod(&pod("a")).await.unwrap();
        assert!(cleanup(&node.run_dir(), &[]).await.is_empty());
        assert_eq!(ip("netns list")[0]["name"], "default.a");
    });
}

#[test]
fn a_namespace_put_in_the_place_of_a_pods_is_refused_and_stays() {
    on_node(|node| async move {
        node.pod("a", &["192.168.1.2"]).await;
        run("ip", &["netns", "del", "default.a"]);
        run("ip", &["netns", "add", "default.a"]);
        let error = node.try_pod("a", &["192.168.1.2"]).await.unwrap_err();
        assert!(matches!(error, Error::NamespaceNotOurs { .. }), "{error}");
        assert!(cleanup(&node.run_dir(), &[]).await.is_empty());
        assert_eq!(ip("netns list")[0]["name"], "default.a");
    });
}

#[test]
fn interfaces_that_shunt_did_not_make_are_refused_and_stay() {
    on_node(|node| async move {
        let name = super::super::names::host_interface_name(&pod("a"));
        run("ip", &["link", "add", &name, "type", "veth"]);
        let error = node.try_pod("a", &["192.168.1.2"]).await.unwrap_err();
        assert!(matches!(error, Error::HostInterfaceNotOurs { .. }), "{error}");
        let error = node.podnet.ensure_bridge(&name, &gateways()).await.unwrap_err();
        assert!(error.to_string().contains("veth, not a bridge"), "{error}");
        let error = node.podnet.ensure_bridge("a/b", &gateways()).await.unwrap_err();
        assert!(matches!(error, Error::BridgeName { .. }), "{error}");
        assert!(cleanup(&node.run_dir(), &[]).await.is_empty());
        assert_eq!(ip(&format!("link show dev {name}"))[0]["ifname"], name.as_str());
        assert!(!Path::new("/run/netns/default.a").exists());
    });
}

#[test]
fn cleanup_leaves_the_node_as_it_was_and_a_second_one_finds_nothing() {
    on_node(|node| async move {
        assert!(cleanup(&node.run_dir(), &[]).await.is_empty());
        let before = snapshot();
        assert_eq!(before.3, ["0\n", "0\n"]);
        fs::create_dir_all("/etc/netns/default.b").unwrap();
        fs::write("/etc/netns/default.b/resolv.conf", "mine").unwrap();
        let bridge = node.podnet.ensure_bridge("cni0", &gateways()).await.unwrap();
        assert_ne!(snapshot().3, before.3);
        let node = Node { bridge, ..node };
        node.pod("a", &["192.168.1.2", "fd10:1::2"]).await;
        node.pod("b", &["172.16.9.9"]).await;
        assert_eq!(fs::read_to_string("/etc/netns/default.b/resolv.conf").unwrap(), "mine");
        for _ in 0..2 {
            let errors = cleanup(&node.run_dir(), &[]).await;
            assert!(errors.is_empty(), "{errors:?}");
            assert_eq!(snapshot(), before);
            assert!(files_below("/run/netns").is_empty());
            assert_eq!(files_below("/etc/netns"), [Path::new("/etc/netns/default.b")]);
            assert!(files_below(node.run_dir().to_str().unwrap()).is_empty());
        }
        assert_eq!(fs::read_to_string("/etc/netns/default.b/resolv.conf").unwrap(), "mine");
    });
}

#[test]
fn cleanup_leaves_a_bridge_that_was_there_before() {
    on_node(|node| async move {
        run("ip", &["link", "add", "br7", "type", "bridge"]);
        run("ip", &["addr", "add", "192.168.7.1/24", "dev", "br7"]);
        run("ip", &["link", "set", "br7", "up"]);
        fs::write("/proc/sys/net/ipv6/conf/br7/accept_dad", "1").unwrap();
        let own: IpNet = "192.168.7.1/24".parse().unwrap();
        let ours: IpNet = "fd10:7::1/64".parse().unwrap();
        node.podnet.ensure_bridge("br7", &[own, ours]).await.unwrap();
        assert!(cleanup(&node.run_dir(), &[]).await.is_empty());
        assert_eq!(global_addresses("addr show dev br7"), ["192.168.7.1"]);
        let accept_dad = fs::read_to_string("/proc/sys/net/ipv6/conf/br7/accept_dad").unwrap();
        assert_eq!(accept_dad, "1\n");
    });
}

#[test]
fn cleanup_finds_the_nodes_namespace_from_another_one() {
    on_node(|node| async move {
        node.pod("a", &["192.168.1.2"]).await;
        let run_dir = node.run_dir();
        File::create("/run/netns/node01").unwrap();
        let bind = MsFlags::MS_BIND;
        let own = Some("/proc/thread-self/ns/net");
        mount(own, "/run/netns/node01", None::<&str>, bind, None::<&str>).unwrap();
        let errors = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(cleanup(&run_dir, &[]))
        });
        let errors = errors.join().unwrap();
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(ip("link show").as_array().unwrap().len(), 1, "only lo is left");
        assert_eq!(files_below("/run/netns"), [Path::new("/run/netns/node01")]);
    });
}

#[test]
fn two_agents_on_one_machine_do_not_touch_each_others_pods() {
    on_node(|node| async move {
        node.pod("a", &["192.168.1.2"]).await;
        let other_run_dir = node.folder.path().join("other");
        let other = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let podnet = PodNet::open(&other_run_dir).unwrap();
                let bridge = podnet.ensure_bridge("cni0", &gateways()).await.unwrap();
                let address = ["192.168.1.2".parse().unwrap()];
                let same = podnet.ensure_pod(&bridge, &dns(), &pod("a"), &address).await;
                let own = podnet.ensure_pod(&bridge, &dns(), &pod("b"), &address).await;
                (same.unwrap_err(), own.unwrap(), cleanup(&other_run_dir, &[]).await)
            })
        });
        let (same, own, errors) = other.join().unwrap();
        assert!(matches!(same, Error::NamespaceNotOurs { .. }), "{same}");
        assert_eq!(own.netns, "default.b");
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(files_below("/run/netns"), [Path::new("/run/netns/default.a")]);
        assert_echoes(&mut connect("default.a", serve("default.a", "192.168.1.2")));
    });
}

#[test]
fn a_damaged_record_is_named_kept_aside_and_stops_nothing_else() {
    on_node(|node| async move {
        node.pod("a", &["192.168.1.2"]).await;
        node.pod("b", &["192.168.1.3"]).await;
        fs::write(node.run_dir().join("pods/default.a.json"), "{").unwrap();
        let (records, errors) = node.podnet.list();
        assert_eq!(records.len(), 1);
        assert!(errors[0].to_string().contains("default.a.json.corrupt"), "{}", errors[0]);
    });
}
