//! `wgpt devices`: the adapters and their capabilities.

use super::arguments::json_flag;
use super::context::Context;
use super::numbers::bytes;
use super::stop::Done;
use crate::Error;
use crate::gpu::{AdapterKind, Caps, Device};
use clap::{ArgMatches, Command};

pub(super) fn command() -> Command {
    Command::new("devices").about("List the adapters and their capabilities, the default one first").arg(json_flag())
}

#[derive(serde::Serialize)]
struct Row<'a> {
    index: usize,
    #[serde(flatten)]
    caps: &'a Caps,
}

pub(super) fn run(context: &mut Context<'_>, matches: &ArgMatches) -> Done {
    let all = Device::list();
    if all.is_empty() {
        return Err(Error::NoAdapter.into());
    }
    for (index, caps) in all.iter().enumerate() {
        if matches.get_flag("json") {
            context.json(&Row { index, caps })?;
        } else {
            write!(context.out, "{}", describe(index, caps))?;
        }
    }
    if !matches.get_flag("json") {
        writeln!(
            context.out,
            "\nCommands use adapter 0 unless --adapter or WGPT_ADAPTER has the index of another or a part of its name, as in \
             `wgpt check --adapter {}`, which tests it.",
            all.len() - 1
        )?;
    }
    Ok(())
}

fn describe(index: usize, caps: &Caps) -> String {
    let kind = match caps.kind {
        AdapterKind::Discrete => "discrete GPU",
        AdapterKind::Integrated => "integrated GPU",
        AdapterKind::Cpu => "CPU",
        AdapterKind::Other => "other",
    };
    let yes_no = |has: bool| if has { "yes" } else { "no" };
    let subgroup = match caps.subgroup {
        (0, 0) => "none".into(),
        (low, high) if low == high => low.to_string(),
        (low, high) => format!("{low} to {high}"),
    };
    let cooperative = if caps.cooperative.is_empty() { "none".into() } else { caps.cooperative.join(", ") };
    format!(
        "{index}  {}\n   {kind}, {}, {}\n   bindings {}, buffers {}, workgroup memory {}, {} invocations per workgroup, textures {}\n   \
         f16 {}, 64-bit integers {}, subgroups {subgroup}, timestamps {}\n   cooperative matrices: {cooperative}\n",
        caps.name,
        caps.backend,
        caps.driver,
        bytes(caps.max_binding),
        bytes(caps.max_buffer),
        bytes(caps.max_workgroup_bytes.into()),
        caps.max_workgroup_size,
        caps.max_texture,
        yes_no(caps.f16),
        yes_no(caps.int64),
        yes_no(caps.timestamps),
    )
}
