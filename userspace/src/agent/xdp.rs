//! Where XDP is attached, by what was asked for and what drives an uplink.

use crate::{
    config,
    loader::{AttachError, Programs, XdpMode},
    podnet::{Uplink, UplinkDriver},
};

/// Attaches the uplink's XDP program in the mode that was asked for, or detaches it. What nobody has
/// asked for by name need not work: TC does the same.
pub(super) fn ensure_xdp(
    programs: &mut Programs,
    uplink: &Uplink,
    asked: config::XdpMode,
) -> Result<(), AttachError> {
    let Some(mode) = mode(asked, uplink.driver) else {
        programs.detach_xdp(&uplink.name);
        return Ok(());
    };
    match programs.attach_xdp(&uplink.name, mode) {
        Err(error) if asked == config::XdpMode::Auto => {
            log::warn!("uplink={} state=without-xdp error={error}", uplink.name);
            programs.detach_xdp(&uplink.name);
            Ok(())
        }
        result => result,
    }
}

/// In the driver of a card; nowhere on other interfaces, where it costs more than it saves.
const fn mode(asked: config::XdpMode, driver: UplinkDriver) -> Option<XdpMode> {
    match (asked, driver) {
        (config::XdpMode::Native, _) | (config::XdpMode::Auto, UplinkDriver::Card) => {
            Some(XdpMode::Native)
        }
        (config::XdpMode::Generic, _) => Some(XdpMode::Generic),
        (config::XdpMode::Auto, UplinkDriver::Veth | UplinkDriver::Virtual)
        | (config::XdpMode::Off, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_itself_xdp_is_for_cards_alone() {
        assert_eq!(mode(config::XdpMode::Auto, UplinkDriver::Card), Some(XdpMode::Native));
        assert_eq!(mode(config::XdpMode::Auto, UplinkDriver::Veth), None);
        assert_eq!(mode(config::XdpMode::Auto, UplinkDriver::Virtual), None);
    }

    #[test]
    fn what_is_asked_for_is_done_on_any_interface() {
        for driver in [UplinkDriver::Card, UplinkDriver::Veth, UplinkDriver::Virtual] {
            assert_eq!(mode(config::XdpMode::Native, driver), Some(XdpMode::Native));
            assert_eq!(mode(config::XdpMode::Generic, driver), Some(XdpMode::Generic));
            assert_eq!(mode(config::XdpMode::Off, driver), None);
        }
    }
}
