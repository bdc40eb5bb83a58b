//! The binary `tidegate-load`. Exit codes: 0, 1 when a message was lost, changed or out of order or a run failed, 2 for
//! bad usage.

#![expect(clippy::print_stdout, reason = "printing results is what this tool is for")]

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use serde::Serialize;

use tidegate_load::cli::{Arguments, Command, TargetArguments};
use tidegate_load::echo::EchoServer;
use tidegate_load::order::Faults;
use tidegate_load::process;
use tidegate_load::scenario::closed::{ClosedLoop, Stop};
use tidegate_load::scenario::fixed::FixedRate;
use tidegate_load::scenario::{churn, closed, fixed, idle, slow, verify};
use tidegate_load::{compare, scenario::Target};

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    process::raise_file_limit().context("limit of open files")?;
    match arguments.command {
        Command::Echo { listen, pin, socket_buffer } => {
            pin.map_or(Ok(()), process::pin).context("pinning")?;
            let mut server = EchoServer::bind(listen).with_context(|| format!("listening on {listen}"))?;
            if let Some(bytes) = socket_buffer {
                server = server.with_socket_buffer(bytes).context("shrinking its buffers")?;
            }
            println!("{}", serde_json::json!({ "listening": server.address()? }));
            server.serve(|| false)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Run { target, messages, connections, window, rate, seconds, warm_up, messages_each } => {
            let (messages, aim) = (messages.messages(), prepare(&target)?);
            if let Some(rate) = rate {
                let report = fixed::run(&aim, FixedRate { connections, rate, messages, warm_up, seconds })?;
                return finish(&target, &report, &report.checked.faults);
            }
            let stop = messages_each.map_or(Stop::After { warm_up, seconds }, Stop::Messages);
            let report = closed::run(&aim, ClosedLoop { connections, window, messages, stop })?;
            finish(&target, &report, &report.checked.faults)
        }
        Command::Idle { target, messages, connections, settle } => {
            let load = idle::Idle { connections, messages: messages.messages(), settle };
            let report = idle::run(&prepare(&target)?, load)?;
            finish(&target, &report, &report.checked.faults)
        }
        Command::Churn { target, messages, connections, concurrent } => {
            let load = churn::Churn { connections, concurrent, messages: messages.messages() };
            let report = churn::run(&prepare(&target)?, load)?;
            finish(&target, &report, &report.checked.faults)
        }
        Command::Slow { target, messages, connections, most_bytes, stalled_after } => {
            let messages = messages.messages();
            let load = slow::SlowReaders { connections, messages, most_bytes, stalled_after };
            let report = slow::run(&prepare(&target)?, load)?;
            finish(&target, &report, &report.checked.faults)
        }
        Command::Verify { target, messages, connections, count, pings, window } => {
            let load = verify::Verify { connections, count, pings, window, messages: messages.messages() };
            let report = verify::run(&prepare(&target)?, load)?;
            finish(&target, &report, &report.checked.faults)
        }
        Command::Compare(arguments) => {
            let comparison = compare::run(&arguments)?;
            println!("{}", compare::report::markdown(&comparison));
            Ok(if comparison.faults().none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

fn prepare(target: &TargetArguments) -> anyhow::Result<Target> {
    target.pin.map_or(Ok(()), process::pin).context("pinning")?;
    Ok(target.target())
}

fn finish(target: &TargetArguments, report: &impl Serialize, faults: &Faults) -> anyhow::Result<ExitCode> {
    let json = serde_json::to_string_pretty(report)?;
    println!("{json}");
    if let Some(path) = &target.json {
        std::fs::write(path, json).with_context(|| path.display().to_string())?;
    }
    Ok(if faults.none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
