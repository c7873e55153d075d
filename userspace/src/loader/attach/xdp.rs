//! XDP: one program per interface, by a link that is pinned.
//!
//! A link keeps its mode, and the kernel does not say which it is: the pin's name does.

use std::{fs, io, path::Path};

use aya::{
    programs::{
        ProgramError, Xdp,
        xdp::{XdpLink, XdpMode as KernelMode},
    },
    sys::SyscallError,
};

use super::{AttachCause, AttachError, Attachment, Programs, keep, replace_pinned};
use crate::loader::XDP_PROGRAM;

/// Where an XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver, before the kernel makes anything of a frame. The driver must know XDP.
    Native,
    /// In the kernel's stack, on any interface. Received packets are no longer gathered (GRO).
    Generic,
}

impl XdpMode {
    const ALL: [Self; 2] = [Self::Native, Self::Generic];

    /// As attachments are listed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }

    /// What the pin's name begins with.
    const fn pin(self) -> &'static str {
        match self {
            Self::Native => XDP_PROGRAM,
            Self::Generic => "xdp_ingress_generic",
        }
    }

    const fn of_kernel(self) -> KernelMode {
        match self {
            Self::Native => KernelMode::Driver,
            Self::Generic => KernelMode::Skb,
        }
    }
}

impl Programs {
    /// Attaches `xdp_ingress` to an uplink. Where a former agent has attached it in this mode, it is
    /// replaced in place; where in the other mode, it is detached first, and packets meanwhile go by
    /// TC.
    pub fn attach_xdp(&mut self, interface: &str, mode: XdpMode) -> Result<(), AttachError> {
        let failed =
            |cause| AttachError { program: XDP_PROGRAM, place: interface.to_owned(), cause };
        for other in XdpMode::ALL.into_iter().filter(|other| *other != mode) {
            self.remove_xdp(interface, other);
        }
        let program = super::super::program::<Xdp>(&mut self.ebpf, XDP_PROGRAM)
            .map_err(|error| failed(AttachCause::Link(error.to_string())))?;
        let pin = self.pins.link(mode.pin(), interface);
        attach(program, interface, mode, &pin).map_err(failed)?;
        let attachment = Attachment {
            program: XDP_PROGRAM,
            place: interface.to_owned(),
            hook: "xdp",
            mode: mode.name(),
        };
        if !self.attachments.contains(&attachment) {
            self.attachments.push(attachment);
        }
        Ok(())
    }

    /// Detaches `xdp_ingress` from an interface, where this agent or a former one has attached it.
    pub fn detach_xdp(&mut self, interface: &str) {
        for mode in XdpMode::ALL {
            self.remove_xdp(interface, mode);
        }
    }

    /// Detaches `xdp_ingress` from all interfaces but these.
    pub fn detach_xdp_but(&mut self, interfaces: &[&str]) {
        for mode in XdpMode::ALL {
            for interface in self.pins.places(mode.pin()) {
                if !interfaces.contains(&interface.as_str()) {
                    self.remove_xdp(&interface, mode);
                }
            }
        }
    }

    fn remove_xdp(&mut self, interface: &str, mode: XdpMode) {
        self.attachments.retain(|attachment| {
            attachment.program != XDP_PROGRAM
                || attachment.place != interface
                || attachment.mode != mode.name()
        });
        let _ = fs::remove_file(self.pins.link(mode.pin(), interface));
    }
}

fn attach(
    program: &mut Xdp,
    interface: &str,
    mode: XdpMode,
    pin: &Path,
) -> Result<(), AttachCause> {
    let is_replaced = replace_pinned(pin, |old| {
        let link = program.attach_to_link(XdpLink::try_from(old)?)?;
        // The pin stays: only the handle that this process had is given up.
        drop(program.take_link(link)?);
        Ok(())
    })?;
    if is_replaced {
        return Ok(());
    }
    let link = program.attach(interface, mode.of_kernel()).map_err(|cause| AttachCause::Xdp {
        remedy: remedy(&cause, mode),
        cause: Box::new(cause),
    })?;
    keep(program.take_link(link)?, pin)
}

/// What to do where the kernel refuses to attach.
fn remedy(cause: &ProgramError, mode: XdpMode) -> &'static str {
    let errno = match cause {
        ProgramError::SyscallError(SyscallError { io_error, .. }) => io_error.raw_os_error(),
        ProgramError::UnknownInterface { .. } => Some(libc::ENODEV),
        other => std::error::Error::source(other)
            .and_then(|source| source.downcast_ref::<io::Error>())
            .and_then(io::Error::raw_os_error),
    };
    match (errno, mode) {
        (Some(libc::ENODEV), _) => "name an interface that is there with --uplink",
        (Some(libc::EBUSY | libc::EEXIST), _) => {
            "another XDP program is attached to it: detach that (ip link set dev IF xdp off), or say \
             --xdp off"
        }
        (Some(libc::EPERM), _) => "give CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN",
        (_, XdpMode::Native) => {
            "its driver takes no XDP program as it is set up (the kernel's log may say why: MTU, \
             queues, or LRO): say --xdp generic or --xdp off"
        }
        (_, XdpMode::Generic) => "say --xdp off",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(errno: i32) -> ProgramError {
        let io_error = io::Error::from_raw_os_error(errno);
        SyscallError { call: "bpf_link_create", io_error }.into()
    }

    #[test]
    fn what_a_driver_lacks_the_kernel_can_do_instead() {
        let advice = remedy(&refused(libc::EOPNOTSUPP), XdpMode::Native);
        assert!(advice.contains("--xdp generic"), "{advice}");
        let advice = remedy(&refused(libc::EOPNOTSUPP), XdpMode::Generic);
        assert!(!advice.contains("generic"), "{advice}");
    }

    #[test]
    fn another_program_is_to_be_detached_whatever_the_mode() {
        for mode in XdpMode::ALL {
            for errno in [libc::EBUSY, libc::EEXIST] {
                assert!(remedy(&refused(errno), mode).contains("xdp off"));
            }
        }
    }

    #[test]
    fn pins_of_both_modes_are_told_apart() {
        assert!(!XdpMode::Generic.pin().starts_with(&format!("{}@", XdpMode::Native.pin())));
        assert_ne!(XdpMode::Native.pin(), XdpMode::Generic.pin());
    }
}
