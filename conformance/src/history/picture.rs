//! A history as a page to look at: a row for each caller, a bar for each call.

use std::collections::HashSet;
use std::fmt::Write as _;

use jobstore_core::{Creation, Error, Job, JobId, Target, Update};

use super::record::{Call, Event, History, Reply};
use super::spec::{Does, Step};

const ROW: u64 = 46;
const UNIT: u64 = 26;
const LEFT: u64 = 80;

/// The whole history; calls with steps that do not fit are red. Hovering a bar tells all of it.
pub(super) fn html(history: &History, stuck: &[Step], seed: u64) -> String {
    let stuck: HashSet<usize> = stuck.iter().map(|step| step.event).collect();
    let returned = history
        .events
        .iter()
        .filter_map(|event| event.reply.as_ref());
    let last = returned.map(|(returned, _)| *returned).max().unwrap_or(1);
    let (width, height) = (LEFT + (last + 3) * UNIT, ROW * (history.callers as u64 + 2));
    let mut svg = String::new();
    for tick in &history.ticks {
        let x = LEFT + tick.set * UNIT;
        let time = tick.time;
        put(
            &mut svg,
            format_args!(
                "<line class='tick' x1='{x}' x2='{x}' y1='14' y2='{height}'/><text x='{x}' y='11'>{time}</text>"
            ),
        );
    }
    for caller in 0..=history.callers {
        let y = ROW * (caller as u64 + 1) + 8;
        let name = match caller == history.callers {
            true => "alone".to_owned(),
            false => format!("caller {caller}"),
        };
        put(&mut svg, format_args!("<text x='4' y='{y}'>{name}</text>"));
    }
    for (index, event) in history.events.iter().enumerate() {
        let (x, y) = (
            LEFT + event.invoked * UNIT,
            ROW * (event.caller as u64 + 1) - 10,
        );
        let end = event
            .reply
            .as_ref()
            .map_or(event.invoked + 2, |(end, _)| *end);
        let width = (end - event.invoked) * UNIT;
        let class = match (stuck.contains(&index), event.reply.is_some()) {
            (true, _) => "stuck",
            (false, true) => "known",
            (false, false) => "unknown",
        };
        let (call, reply) = words(event);
        put(
            &mut svg,
            format_args!(
                "<g><title>{0}\n→ {1}</title><rect class='{class}' x='{x}' y='{y}' width='{width}' height='30' rx='3'/>\
             <svg x='{x}' y='{y}' width='{width}' height='30'><text x='3' y='12'>{0}</text>\
             <text x='3' y='25'>→ {1}</text></svg></g>",
                escaped(&call),
                escaped(&reply)
            ),
        );
    }
    format!(
        "<!doctype html><meta charset='utf-8'><title>history {seed}</title><style>\
         body{{font:12px sans-serif}}text{{font:10px monospace}}.tick{{stroke:#bbb}}\
         .known{{fill:#cfe6cf;stroke:#484}}.unknown{{fill:#eee;stroke:#888;stroke-dasharray:4}}\
         .stuck{{fill:#f5b5b0;stroke:#b00}}</style>\
         <p>History of seed {seed}. Red: calls that fit no order. Dashed: calls whose outcome is \
         unknown. Vertical lines: the clock. Hover for the whole call.</p>\
         <div style='overflow-x:auto'><svg width='{width}' height='{height}'>{svg}</svg></div>\n"
    )
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("writes to a String");
}

/// One step, for a message.
pub(super) fn step(step: &Step) -> String {
    match &step.does {
        Does::Create(new, reply) => {
            let ids = ids(new.iter().filter_map(|new| new.id.as_ref()));
            let reply = reply.as_ref().map_or("?".to_owned(), created);
            format!("create {ids} → {reply}")
        }
        Does::ClaimOne(request, id, reply) => {
            let reply = reply.as_ref().map_or("?".to_owned(), job);
            format!("claim {id} as {} → {reply}", request.lease.owner)
        }
        Does::PassOver(request, id, _) => {
            format!("claim as {}, passing over {id}", request.lease.owner)
        }
        Does::Update(what, reply) => {
            let reply = reply.as_ref().map_or("?".to_owned(), verdict);
            format!("{} → {reply}", update(what))
        }
        Does::Delete(_, id, reply) => format!("delete {id} → {reply:?}"),
        Does::See(_, id, seen) => {
            let seen = seen.as_ref().map_or("not there".to_owned(), job);
            format!("look for {id} → {seen}")
        }
    }
}

fn words(event: &Event) -> (String, String) {
    let call = match &event.call {
        Call::Create(new) => {
            let ids = ids(new.iter().filter_map(|new| new.id.as_ref()));
            format!("create {ids}")
        }
        Call::Claim(request) => {
            let names = request.job_names.join(",");
            format!(
                "claim {} of [{names}] as {}",
                request.limit, request.lease.owner
            )
        }
        Call::Update(updates) => updates.iter().map(update).collect::<Vec<_>>().join("; "),
        Call::Delete(request) => format!("delete {request:?}"),
        Call::Get(asked) => format!("get {}", ids(asked)),
        Call::List(filter, page) => format!("list {} {:?} of {filter:?}", page.size, page.order),
    };
    let reply = event.reply.as_ref().map(|(_, reply)| match reply {
        Reply::Created(creations) => created(creations),
        Reply::Claimed(claimed) => jobs(claimed),
        Reply::Updated(verdicts) => verdicts.iter().map(verdict).collect::<Vec<_>>().join("; "),
        Reply::Deleted(deleted) => ids(deleted),
        Reply::Got(got) => {
            let got = got
                .iter()
                .map(|got| got.as_ref().map_or("none".to_owned(), job));
            got.collect::<Vec<_>>().join(", ")
        }
        Reply::Listed(listed, more) => {
            format!("{}{}", jobs(listed), if *more { ", …" } else { "" })
        }
    });
    (call, reply.unwrap_or_else(|| "unknown".to_owned()))
}

fn update(update: &Update) -> String {
    let action = &update.action;
    match update.target {
        Target::Id(id) => format!("{action:?} {} by id", short(&id)),
        Target::Claim(claim) => format!("{action:?} {} fence {}", short(&claim.id), claim.fence),
    }
}

fn verdict(verdict: &Result<Job, Error>) -> String {
    match verdict {
        Ok(changed) => job(changed),
        Err(error) => error.to_string(),
    }
}

fn created(creations: &Result<Vec<Creation>, Error>) -> String {
    match creations {
        Ok(creations) => {
            let creations = creations.iter().map(|creation| match creation {
                Creation::Created(new) => format!("new {}", job(new)),
                Creation::Existing(found) => format!("existing {}", job(found)),
            });
            creations.collect::<Vec<_>>().join(", ")
        }
        Err(error) => error.to_string(),
    }
}

fn jobs(jobs: &[Job]) -> String {
    match jobs {
        [] => "no jobs".to_owned(),
        jobs => jobs.iter().map(job).collect::<Vec<_>>().join(", "),
    }
}

fn job(job: &Job) -> String {
    let Job {
        id,
        status,
        fence,
        retry_count,
        last_update_time,
        lease_owner,
        ..
    } = job;
    let owner = lease_owner.as_deref().unwrap_or("nobody");
    format!(
        "{} {status} by {owner}, fence {fence}, retries {retry_count}, updated {last_update_time}",
        short(id)
    )
}

fn ids<'a>(ids: impl IntoIterator<Item = &'a JobId>) -> String {
    let ids: Vec<String> = ids.into_iter().map(short).collect();
    ids.join(" ")
}

/// The end of an id, where those made in one run differ.
fn short(id: &JobId) -> String {
    let id = id.to_string();
    format!("…{}", &id[id.len() - 6..])
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
