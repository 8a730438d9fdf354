//! Which objects of a set are there, and how do they change?
//!
//! The set is listed and then watched. That a watch ends is no fault: the API server ends each after some
//! minutes. One that ends soon after its beginning, or whose version is too old, begins again after an ever
//! longer pause, whatever the reason.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::Duration;

use futures_util::stream::{self, Stream, StreamExt};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::failure::Failure;
use super::pages::{Collection, Pages};
use super::read::{ApiServer, Lines, Status, Versioned};
use super::retry::RetryBackoff;
use crate::telemetry::causes;

/// The shortest time between the beginnings of two requests.
const GAP: Duration = Duration::from_millis(200);

/// A watch that went on for so long went well, whatever it showed.
const GOOD: Duration = Duration::from_secs(10);

/// What is told of a set of objects.
pub(super) enum Event<T> {
    /// A list begins with the next poll. What it does not show is not there any more.
    Listing,
    /// This object is there.
    There(T),
    /// The list has shown every object.
    Listed,
    /// This object, as it was last, is not there any more.
    Gone(T),
}

/// Follows a set of objects for ever; `read` makes something small of each. A failure is returned, and the
/// next poll tries again.
pub(super) fn follow<T, R>(
    api: ApiServer,
    what: Collection,
    read: R,
) -> impl Stream<Item = Result<Event<T>, Failure>>
where
    R: Fn(&RawValue) -> serde_json::Result<T>,
{
    let watch = Watch { api, what, read, starts: Starts::default(), at: At::Nothing };
    // The stream owns the request that is under way, so that whoever polls it may do something else in
    // between.
    stream::unfold(watch, |mut watch| async move {
        let event = watch.next().await;
        Some((event, watch))
    })
}

/// Follows a single object for ever: how it is now, or `None` where it is not there.
pub(super) fn follow_one<T, R>(
    api: ApiServer,
    what: Collection,
    read: R,
) -> impl Stream<Item = Result<Option<T>, Failure>>
where
    R: Fn(&RawValue) -> serde_json::Result<T>,
{
    let mut listed = None;
    let mut is_listing = true;
    follow(api, what, read).filter_map(move |event| {
        let told = match event {
            Ok(Event::Listing) => {
                (listed, is_listing) = (None, true);
                None
            }
            Ok(Event::There(object)) if is_listing => {
                listed = Some(object);
                None
            }
            Ok(Event::Listed) => {
                is_listing = false;
                Some(Ok(listed.take()))
            }
            Ok(Event::There(object)) => Some(Ok(Some(object))),
            Ok(Event::Gone(_)) => Some(Ok(None)),
            Err(failure) => Some(Err(failure)),
        };
        std::future::ready(told)
    })
}

struct Watch<T, R> {
    api: ApiServer,
    what: Collection,
    read: R,
    starts: Starts,
    at: At<T>,
}

/// How far a watch has come.
enum At<T> {
    /// A list is to begin.
    Nothing,
    /// The list is being read: what of its last page was not shown yet, and whether there is another page.
    Listing(Pages, VecDeque<T>, bool),
    /// A watch is to begin from this version.
    Listed(String),
    /// The watch has come to this version, and began at this time.
    Watching(Lines, String, Instant),
}

/// A line of a watch.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

/// What a line says, and the version that the watch has come to by it.
enum Parsed<T> {
    Event(Event<T>, String),
    Bookmark(String),
    Unknown,
}

impl<T, R> Watch<T, R>
where
    R: Fn(&RawValue) -> serde_json::Result<T>,
{
    async fn next(&mut self) -> Result<Event<T>, Failure> {
        loop {
            match std::mem::replace(&mut self.at, At::Nothing) {
                At::Nothing => {
                    self.starts.wait().await;
                    let pages = Pages::new(self.api.clone(), self.what.clone());
                    self.at = At::Listing(pages, VecDeque::new(), true);
                    return Ok(Event::Listing);
                }
                At::Listing(pages, mut seen, more) => {
                    if let Some(object) = seen.pop_front() {
                        self.at = At::Listing(pages, seen, more);
                        return Ok(Event::There(object));
                    }
                    if !more {
                        self.at = At::Listed(pages.version());
                        return Ok(Event::Listed);
                    }
                    self.page(pages, seen).await.inspect_err(|failure| self.starts.failed(failure))?;
                }
                At::Listed(version) => {
                    self.starts.wait().await;
                    match self.api.lines(self.what.watch(&version)).await {
                        Ok(lines) => self.at = At::Watching(lines, version, Instant::now()),
                        Err(failure) => self.ended(failure, version)?,
                    }
                }
                At::Watching(mut lines, version, begun) => {
                    let line = lines.next(|line| parse(line, &self.read)).await;
                    match line.and_then(Option::transpose) {
                        Ok(Some(Parsed::Event(event, reached))) => {
                            if reached != version {
                                self.starts.went_well();
                            }
                            self.at = At::Watching(lines, reached, begun);
                            return Ok(event);
                        }
                        Ok(Some(Parsed::Bookmark(reached))) => self.at = At::Watching(lines, reached, begun),
                        Ok(Some(Parsed::Unknown)) => self.at = At::Watching(lines, version, begun),
                        Ok(None) => {
                            if begun.elapsed() >= GOOD {
                                self.starts.went_well();
                            } else {
                                self.starts.ended();
                            }
                            self.at = At::Listed(version);
                        }
                        Err(failure) => {
                            if begun.elapsed() >= GOOD {
                                self.starts.went_well();
                            }
                            self.ended(failure, version)?;
                        }
                    }
                }
            }
        }
    }

    async fn page(&mut self, mut pages: Pages, mut seen: VecDeque<T>) -> Result<(), Failure> {
        let more = pages.next(|object| {
            seen.push_back((self.read)(object)?);
            Ok(())
        });
        let more = more.await?;
        self.at = At::Listing(pages, seen, more);
        Ok(())
    }

    /// A watch failed: it goes on from its version, or with a list where that is too old or a line cannot be
    /// read.
    fn ended(&mut self, failure: Failure, version: String) -> Result<(), Failure> {
        self.starts.failed(&failure);
        if failure.code() == Some(410) {
            tracing::debug!("a watch is too old: {}", causes(&failure));
            return Ok(());
        }
        if !matches!(failure, Failure::TooLong(_) | Failure::Json(_)) {
            self.at = At::Listed(version);
        }
        Err(failure)
    }
}

fn parse<T>(line: &[u8], read: impl Fn(&RawValue) -> serde_json::Result<T>) -> Result<Parsed<T>, Failure> {
    let line: Line<'_> = serde_json::from_slice(line).map_err(Failure::json)?;
    if line.kind == "ERROR" {
        let status: Status<'_> = serde_json::from_str(line.object.get()).map_err(Failure::json)?;
        return Err(status.failure(500, None));
    }
    let object: Versioned<'_> = serde_json::from_str(line.object.get()).map_err(Failure::json)?;
    let version = object.version().to_owned();
    Ok(match &*line.kind {
        "BOOKMARK" => Parsed::Bookmark(version),
        "ADDED" | "MODIFIED" => {
            Parsed::Event(Event::There(read(line.object).map_err(Failure::json)?), version)
        }
        "DELETED" => Parsed::Event(Event::Gone(read(line.object).map_err(Failure::json)?), version),
        _ => Parsed::Unknown,
    })
}

/// Says when the next list or watch may begin.
#[derive(Default)]
struct Starts {
    pauses: RetryBackoff,
    not_before: Option<Instant>,
}

impl Starts {
    async fn wait(&mut self) {
        if let Some(time) = self.not_before {
            tokio::time::sleep_until(time).await;
        }
        self.not_before = Some(Instant::now() + GAP);
    }

    fn went_well(&mut self) {
        self.pauses.reset();
    }

    /// A watch ended before it went well.
    fn ended(&mut self) {
        let pause = self.pauses.next();
        self.pause(pause);
    }

    fn failed(&mut self, failure: &Failure) {
        let pause = self.pauses.next();
        self.pause(failure.retry_after().unwrap_or_default().max(pause));
    }

    fn pause(&mut self, pause: Duration) {
        self.not_before = self.not_before.max(Some(Instant::now() + pause));
    }
}
