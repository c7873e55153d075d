//! The stages as global functions: the verifier looks at each once, by itself, whatever program and
//! stage it is called from (Linux 5.6). So they take numbers only, beside the context, and return
//! one.

use aya_ebpf::bindings::__sk_buff;
use maps_schema::address::{Ipv4Wire, Ipv6Wire};

use super::{
    hook::{BridgeEgress, Handed, Overlay, OverlayEgress, PodIngress, UplinkEgress, UplinkIngress},
    outcome::Outcome,
    overlay, stages,
};
use crate::helpers::touch;

/// A hook's stages for packets of one family.
pub(super) trait Stages<A> {
    fn find_facts(skb: *mut __sk_buff) -> Outcome;
    fn decide(skb: *mut __sk_buff) -> Outcome;
    fn translate(skb: *mut __sk_buff) -> Outcome;
    fn fragment(skb: *mut __sk_buff) -> Outcome;
    fn by_address(skb: *mut __sk_buff) -> Outcome;
    fn plan(skb: *mut __sk_buff, open: Outcome) -> Outcome;
    fn connect(skb: *mut __sk_buff, open: Outcome) -> Outcome;
    fn related(skb: *mut __sk_buff) -> Outcome;
    fn answer(skb: *mut __sk_buff, refusal: Outcome) -> Outcome;
    fn answer_related(skb: *mut __sk_buff) -> Outcome;
    fn route(skb: *mut __sk_buff) -> Outcome;
    fn send_to_node(skb: *mut __sk_buff, send: Outcome) -> Outcome;
}

macro_rules! global {
    ($($family:ident of $hook:ident as $name:literal;)+) => {
        $(const _: () = {
            global!(@function $family, $hook, $name, find_facts);
            global!(@function $family, $hook, $name, decide);
            global!(@function $family, $hook, $name, translate);
            global!(@function $family, $hook, $name, fragment);
            global!(@function $family, $hook, $name, by_address);
            global!(@function $family, $hook, $name, related);
            global!(@function $family, $hook, $name, answer_related);
            global!(@function $family, $hook, $name, route);
            global!(@function $family, $hook, $name, plan, former);
            global!(@function $family, $hook, $name, connect, former);
            global!(@function $family, $hook, $name, answer, former);

            impl Stages<$family> for $hook {
                global!(@method find_facts);
                global!(@method decide);
                global!(@method translate);
                global!(@method fragment);
                global!(@method by_address);
                global!(@method related);
                global!(@method answer_related);
                global!(@method route);
                global!(@method plan, former);
                global!(@method connect, former);
                global!(@method answer, former);

                #[inline(always)]
                fn send_to_node(skb: *mut __sk_buff, send: Outcome) -> Outcome {
                    Outcome::from_bits(send_to_node(skb, send.bits()))
                }
            }
        };)+
    };
    (@function $family:ident, $hook:ident, $name:literal, $stage:ident $(, $former:ident)?) => {
        #[unsafe(export_name = concat!(stringify!($stage), "_", $name))]
        #[inline(never)]
        extern "C" fn $stage(skb: *mut __sk_buff $(, $former: u64)?) -> u64 {
            // What a function does not use, the compiler does not pass; the verifier wants it.
            touch(skb);
            stages::$stage::<$family, $hook>(skb $(, Outcome::from_bits($former))?).bits()
        }
    };
    (@method $stage:ident $(, $former:ident)?) => {
        #[inline(always)]
        fn $stage(skb: *mut __sk_buff $(, $former: Outcome)?) -> Outcome {
            Outcome::from_bits($stage(skb $(, $former.bits())?))
        }
    };
}

global! {
    Ipv4Wire of PodIngress as "pod_v4";
    Ipv6Wire of PodIngress as "pod_v6";
    Ipv4Wire of BridgeEgress as "bridge_v4";
    Ipv6Wire of BridgeEgress as "bridge_v6";
    Ipv4Wire of UplinkIngress as "uplink_in_v4";
    Ipv6Wire of UplinkIngress as "uplink_in_v6";
    Ipv4Wire of UplinkEgress as "uplink_out_v4";
    Ipv6Wire of UplinkEgress as "uplink_out_v6";
    Ipv4Wire of OverlayEgress as "overlay_out_v4";
    Ipv6Wire of OverlayEgress as "overlay_out_v6";
    Ipv4Wire of Overlay as "overlay_v4";
    Ipv6Wire of Overlay as "overlay_v6";
}

/// What is handed over differs in how it is decided on, and in the mark of fragments that wait.
macro_rules! as_overlay {
    ($($family:ident as $name:literal;)+) => {
        $(const _: () = {
            global!(@function $family, Handed, $name, decide);
            global!(@function $family, Handed, $name, fragment);

            impl Stages<$family> for Handed {
                global!(@method decide);
                global!(@method fragment);
                as_overlay!(@method $family, find_facts);
                as_overlay!(@method $family, translate);
                as_overlay!(@method $family, by_address);
                as_overlay!(@method $family, related);
                as_overlay!(@method $family, answer_related);
                as_overlay!(@method $family, route);
                as_overlay!(@method $family, plan, former);
                as_overlay!(@method $family, connect, former);
                as_overlay!(@method $family, answer, former);
                as_overlay!(@method $family, send_to_node, former);
            }
        };)+
    };
    (@method $family:ident, $stage:ident $(, $former:ident)?) => {
        #[inline(always)]
        fn $stage(skb: *mut __sk_buff $(, $former: Outcome)?) -> Outcome {
            <Overlay as Stages<$family>>::$stage(skb $(, $former)?)
        }
    };
}

as_overlay! {
    Ipv4Wire as "handed_v4";
    Ipv6Wire as "handed_v6";
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn send_to_node(skb: *mut __sk_buff, send: u64) -> u64 {
    overlay::send_to_node(skb, Outcome::from_bits(send)).bits()
}
