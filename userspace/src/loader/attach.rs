//! Attaching programs so that they outlive the agent, and replacing them in place when it returns.
//!
//! tcx and cgroup links are pinned; a filter of a clsact qdisc stays by itself, under a priority
//! and a handle of ours.

mod filters;
mod xdp;

use std::{
    fs::{self, File},
    io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use aya::{
    programs::{
        CgroupAttachMode, CgroupSockAddr, LinkOrder, ProgramError, SchedClassifier, TcAttachType,
        links::{FdLink, LinkError, PinnedLink},
        tc::{
            NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle, qdisc_add_clsact,
        },
    },
    sys::SyscallError,
};

pub use self::{filters::remove_filters, xdp::XdpMode};
use super::{Programs, SOCKET_PROGRAMS, TC_PROGRAMS, pins::Pins, probe::TcMode};
use crate::bpf::{link_update, obj_get};

/// An attached program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The program.
    pub program: &'static str,
    /// The interface, or the cgroup's path.
    pub place: String,
    /// `tc ingress`, `tc egress`, `xdp`, or the cgroup hook.
    pub hook: &'static str,
    /// `tcx`, `clsact`, `native`, `generic` or `cgroup`.
    pub mode: &'static str,
}

/// Why a program could not be attached.
#[derive(Debug, thiserror::Error)]
#[error("attaching {program} to {place}: {cause}")]
pub struct AttachError {
    /// The program.
    pub program: &'static str,
    /// The interface, or the cgroup's path.
    pub place: String,
    /// Why.
    pub cause: AttachCause,
}

/// Why a program could not be attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachCause {
    /// The kernel refused.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The card, its driver, or another program on it allows no XDP.
    #[error("{cause}; {remedy}")]
    Xdp {
        /// What the kernel said.
        cause: Box<ProgramError>,
        /// What to do.
        remedy: &'static str,
    },
    /// A link could not be read or pinned.
    #[error("{0}")]
    Link(String),
    /// The interface or the cgroup cannot be opened, or the clsact qdisc not be made.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<LinkError> for AttachCause {
    fn from(error: LinkError) -> Self {
        Self::Link(error.to_string())
    }
}

const POD_PROGRAM: &str = "tc_pod_ingress";
const UPLINK_PROGRAMS: [&str; 2] = ["tc_uplink_ingress", "tc_uplink_egress"];

/// Where the filters of clsact qdiscs stand. The priority leaves room before and behind.
const FILTER_PRIORITY: u16 = 100;
const FILTER_HANDLE: TcHandle = TcHandle::new(0, 0x5417);

/// Removes the pin of the program on the host end of a pod that is gone, where no programs are
/// loaded.
pub fn forget_pod_link(bpffs: &Path, host_interface: &str) {
    let _ = fs::remove_file(Pins::below(bpffs).link(POD_PROGRAM, host_interface));
}

impl Programs {
    /// Attaches `tc_pod_ingress` to the host end of a pod's veth pair. Attaching twice is once.
    pub fn attach_pod(&mut self, host_interface: &str) -> Result<(), AttachError> {
        self.attach_tc(POD_PROGRAM, host_interface, TcAttachType::Ingress)
    }

    /// Whether `tc_pod_ingress` is on an interface, as far as the kernel tells: of clsact filters only
    /// whether it was attached.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn has_pod_program(&self, host_interface: &str) -> Result<bool, AttachError> {
        let name = POD_PROGRAM;
        if self.tc_mode == TcMode::Clsact {
            let is_it = |it: &Attachment| it.program == name && it.place == host_interface;
            return Ok(self.attachments.iter().any(is_it));
        }
        let queried = SchedClassifier::query_tcx(host_interface, TcAttachType::Ingress);
        let own = self.program_id(name);
        match (queried, own) {
            (Ok((_, programs)), Some(own)) => Ok(programs.iter().any(|it| it.id() == own)),
            (Ok(_), None) => Ok(false),
            (Err(error), _) => Err(AttachError {
                program: name,
                place: host_interface.to_owned(),
                cause: error.into(),
            }),
        }
    }

    /// Attaches `tc_bridge_egress` to the bridge.
    pub fn attach_bridge(&mut self, bridge: &str) -> Result<(), AttachError> {
        self.attach_tc("tc_bridge_egress", bridge, TcAttachType::Egress)
    }

    /// Attaches `tc_uplink_ingress` and `tc_uplink_egress` to an uplink.
    pub fn attach_uplink(&mut self, uplink: &str) -> Result<(), AttachError> {
        self.attach_tc("tc_uplink_ingress", uplink, TcAttachType::Ingress)?;
        self.attach_tc("tc_uplink_egress", uplink, TcAttachType::Egress)
    }

    /// Attaches `tc_overlay_ingress` and `tc_overlay_egress` to the overlay device.
    pub fn attach_overlay(&mut self, overlay: &str) -> Result<(), AttachError> {
        self.attach_tc("tc_overlay_ingress", overlay, TcAttachType::Ingress)?;
        self.attach_tc("tc_overlay_egress", overlay, TcAttachType::Egress)
    }

    /// Detaches the programs of uplinks from all interfaces but these: those of a former agent too.
    pub fn detach_uplinks_but(&mut self, uplinks: &[&str]) {
        for program in UPLINK_PROGRAMS {
            for interface in self.pins.places(program) {
                if !uplinks.contains(&interface.as_str()) {
                    self.detach(program, &interface);
                }
            }
        }
    }

    /// Forgets an interface that is gone.
    pub fn forget_interface(&mut self, interface: &str) {
        self.attachments.retain(|attachment| attachment.place != interface);
        for program in TC_PROGRAMS {
            let _ = fs::remove_file(self.pins.link(program, interface));
        }
        self.detach_xdp(interface);
    }

    fn detach(&mut self, program: &str, interface: &str) {
        self.attachments
            .retain(|attachment| attachment.place != interface || attachment.program != program);
        let _ = fs::remove_file(self.pins.link(program, interface));
        for direction in [TcAttachType::Ingress, TcAttachType::Egress] {
            // A filter, if there is one, goes with the handle to it.
            drop(filter(interface, direction));
        }
    }

    /// Attaches the socket programs to a cgroup.
    pub fn attach_cgroup(&mut self, cgroup: &Path) -> Result<(), AttachError> {
        for program in SOCKET_PROGRAMS {
            let place = cgroup.display().to_string();
            let pin = self.pins.link(program, "cgroup");
            attach_socket(&mut self.ebpf, program, cgroup, &pin).map_err(|cause| AttachError {
                program,
                place: place.clone(),
                cause,
            })?;
            let hook = program.trim_start_matches("socket_");
            self.attachments.push(Attachment { program, place, hook, mode: "cgroup" });
        }
        Ok(())
    }

    /// Detaches the socket programs that a former agent has left, where they are not wanted now.
    pub fn detach_cgroup(&self) {
        for program in SOCKET_PROGRAMS {
            let _ = fs::remove_file(self.pins.link(program, "cgroup"));
        }
    }

    /// What is attached.
    pub fn attachments(&self) -> &[Attachment] {
        &self.attachments
    }

    fn attach_tc(
        &mut self,
        name: &'static str,
        interface: &str,
        direction: TcAttachType,
    ) -> Result<(), AttachError> {
        let failed = |cause| AttachError { program: name, place: interface.to_owned(), cause };
        let program = super::program::<SchedClassifier>(&mut self.ebpf, name)
            .map_err(|error| failed(AttachCause::Link(error.to_string())))?;
        let pin = self.pins.link(name, interface);
        let mode = match self.tc_mode {
            TcMode::Tcx => {
                attach_tcx(program, interface, direction, &pin).map_err(failed)?;
                // A former agent's filter, if there is one, goes with the handle to it.
                drop(filter(interface, direction));
                "tcx"
            }
            TcMode::Clsact => {
                // A pod's interface goes with the pod.
                let outlives = name != POD_PROGRAM;
                let note_in = outlives.then_some(self.run_dir.as_path());
                attach_filter(program, interface, direction, note_in).map_err(failed)?;
                // A former agent's link, if there is one, would come before the filter.
                let _ = fs::remove_file(&pin);
                "clsact"
            }
        };
        let hook = if direction == TcAttachType::Ingress { "tc ingress" } else { "tc egress" };
        let attachment = Attachment { program: name, place: interface.to_owned(), hook, mode };
        if !self.attachments.contains(&attachment) {
            self.attachments.push(attachment);
        }
        Ok(())
    }
}

fn attach_tcx(
    program: &mut SchedClassifier,
    interface: &str,
    direction: TcAttachType,
    pin: &Path,
) -> Result<(), AttachCause> {
    let is_replaced = replace_pinned(pin, |old| {
        let link = SchedClassifierLink::try_from(old)?;
        let link = program.attach_to_link(link)?;
        // The pin stays: only the handle that this process had is given up.
        drop(program.take_link(link)?);
        Ok(())
    })?;
    if is_replaced {
        return Ok(());
    }
    let options = TcAttachOptions::TcxOrder(LinkOrder::last());
    let link = program.attach_with_options(interface, direction, options)?;
    keep(program.take_link(link)?, pin)
}

fn attach_filter(
    program: &mut SchedClassifier,
    interface: &str,
    direction: TcAttachType,
    note_in: Option<&Path>,
) -> Result<(), AttachCause> {
    let is_made = match qdisc_add_clsact(interface) {
        Ok(()) => true,
        Err(error) if is_already_there(&error) => false,
        Err(error) => return Err(ProgramError::from(error).into()),
    };
    if let Some(run_dir) = note_in {
        filters::note(run_dir, interface, is_made)?;
    }
    // Replacing comes first: where the filter exists, packets never go without it.
    let there = filter(interface, direction)?;
    let link = if let Ok(link) = program.attach_to_link(there) {
        link
    } else {
        let options =
            NlOptions { priority: FILTER_PRIORITY, handle: FILTER_HANDLE, ..NlOptions::default() };
        program.attach_with_options(interface, direction, TcAttachOptions::Netlink(options))?
    };
    // Dropping the link would remove the filter.
    std::mem::forget(program.take_link(link)?);
    Ok(())
}

/// A handle to the filter that is or is not there. It is removed when this is dropped.
fn filter(interface: &str, direction: TcAttachType) -> io::Result<SchedClassifierLink> {
    SchedClassifierLink::attached(interface, direction, FILTER_PRIORITY, FILTER_HANDLE, None)
}

fn is_already_there(error: &TcError) -> bool {
    matches!(error, TcError::NetlinkError(error) if error.raw_os_error() == Some(libc::EEXIST))
        || matches!(error, TcError::IoError(error) if error.raw_os_error() == Some(libc::EEXIST))
}

fn attach_socket(
    ebpf: &mut aya::Ebpf,
    name: &'static str,
    cgroup: &Path,
    pin: &PathBuf,
) -> Result<(), AttachCause> {
    let program = super::program::<CgroupSockAddr>(ebpf, name)
        .map_err(|error| AttachCause::Link(error.to_string()))?;
    let program_fd = program.fd()?;
    match obj_get(pin).and_then(|link| link_update(link.as_fd(), program_fd.as_fd())) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            log::debug!("link={} state=stale error={error}", pin.display());
            fs::remove_file(pin)?;
        }
    }
    // Links may be several on one cgroup whatever the mode; others than `Single` are refused.
    let link = program.attach(File::open(cgroup)?, CgroupAttachMode::Single)?;
    keep(program.take_link(link)?, pin)
}

/// Has the link that is pinned lead to a program of now; whether there was one to do so. One whose
/// interface is another of that name by now (ENOLINK) is removed.
fn replace_pinned(
    pin: &Path,
    replace: impl FnOnce(FdLink) -> Result<(), AttachCause>,
) -> Result<bool, AttachCause> {
    let Some(old) = pinned(pin)? else { return Ok(false) };
    if let Err(error) = replace(FdLink::from(old)) {
        log::debug!("link={} state=stale error={error}", pin.display());
        fs::remove_file(pin)?;
        return Ok(false);
    }
    Ok(true)
}

/// Pins a link, so that it outlives this process.
fn keep<L>(link: L, pin: &Path) -> Result<(), AttachCause>
where
    FdLink: TryFrom<L, Error = LinkError>,
{
    FdLink::try_from(link)?.pin(pin).map_err(|error| AttachCause::Link(error.to_string()))?;
    Ok(())
}

fn pinned(pin: &Path) -> Result<Option<PinnedLink>, AttachCause> {
    match PinnedLink::from_pin(pin) {
        Ok(link) => Ok(Some(link)),
        Err(LinkError::SyscallError(SyscallError { io_error, .. }))
            if io_error.kind() == io::ErrorKind::NotFound =>
        {
            Ok(None)
        }
        Err(error) => Err(AttachCause::Link(error.to_string())),
    }
}
