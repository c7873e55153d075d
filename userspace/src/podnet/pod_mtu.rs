//! The MTU that pods have: what crosses the uplinks whole.

use rtnetlink::LinkUnspec;

use super::{Bridge, Error, Overlay, PodNet, Uplink, netlink};

/// The MTU of a node without uplinks, in bytes: Ethernet's own.
const ALONE: u32 = 1500;

/// The MTU of the bridge and the pods, in bytes: that of the overlay, where `routing` goes through
/// one, or else the smallest of the uplinks'. `overlay` is `None` with direct routing, also where
/// there is a device for direct server return.
pub fn pod_mtu(uplinks: &[Uplink], overlay: Option<&Overlay>) -> u32 {
    let smallest = uplinks.iter().map(|uplink| uplink.mtu).min();
    overlay.map(|overlay| overlay.mtu).or(smallest).unwrap_or(ALONE)
}

impl PodNet {
    /// Gives the bridge an MTU, to be called after each [`PodNet::ensure_bridge`]. Pods get it,
    /// at both ends of their pairs, when they are ensured or reconciled next; their connections
    /// live on.
    pub async fn ensure_pod_mtu(&self, bridge: Bridge, mtu: u32) -> Result<Bridge, Error> {
        let _one_at_a_time = self.node_lock.lock().await;
        if bridge.mtu == mtu {
            return Ok(bridge);
        }
        let mut node = self.begin_node_record()?;
        if let Some(record) = node.bridges.iter_mut().find(|record| record.name == bridge.name)
            && !record.made
            && record.former_mtu.is_none()
        {
            record.former_mtu = Some(bridge.mtu);
            self.records.write_node(&node)?;
        }
        let action = format!("setting the MTU of {} to {mtu}", bridge.name);
        let message = LinkUnspec::new_with_index(bridge.interface.get()).mtu(mtu);
        netlink::change(&self.handle, action, message).await?;
        Ok(Bridge { mtu, ..bridge })
    }
}

#[cfg(test)]
mod tests {
    use maps_schema::address::{IfIndex, Mac};

    use super::*;
    use crate::podnet::UplinkDriver;

    fn uplink(mtu: u32) -> Uplink {
        Uplink {
            name: "eth0".to_owned(),
            interface: IfIndex::new(2),
            mtu,
            driver: UplinkDriver::Card,
            addresses: vec![],
            primary_v4: None,
            primary_v6: None,
        }
    }

    #[test]
    fn pods_have_the_mtu_of_what_their_packets_cross() {
        let overlay = Overlay { interface: IfIndex::new(3), mac: Mac::default(), mtu: 1350 };
        let uplinks = [uplink(9000), uplink(1400)];
        assert_eq!(pod_mtu(&[], None), 1500);
        assert_eq!(pod_mtu(&uplinks, None), 1400);
        assert_eq!(pod_mtu(&uplinks, Some(&overlay)), 1350);
    }
}
