//! What one transaction does: requests put in, requests dropped, and the counts of both.

use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::{super::columns::unsigned, Dropped, Lane, LaneState, Loss, OVERHEAD, Parcel, Tally, Why};

/// A transaction and the lanes as they will be when it is committed.
pub(super) struct Work<'a> {
    transaction: &'a Transaction<'a>,
    limit: u64,
    lanes: Vec<Lane>,
    next_id: i64,
    dropped: Vec<Dropped>,
}

/// The oldest request of all.
struct Oldest {
    id: i64,
    lane_id: i64,
    time: u64,
    items: u64,
    bytes: u64,
}

impl<'a> Work<'a> {
    pub(super) fn new(transaction: &'a Transaction<'a>, limit: u64, lanes: &[Lane], next_id: i64) -> Self {
        Self {
            transaction,
            limit,
            lanes: lanes.to_vec(),
            next_id,
            dropped: Vec::new(),
        }
    }

    pub(super) fn finish(self) -> (Vec<Lane>, i64, Vec<Dropped>) {
        (self.lanes, self.next_id, self.dropped)
    }

    /// Deletes what has been removed.
    pub(super) fn delete_gone(&mut self) -> rusqlite::Result<()> {
        for lane in self.lanes.iter_mut().filter(|lane| lane.undeleted) {
            self.transaction
                .prepare_cached("DELETE FROM request WHERE lane_id = ?1 AND id <= ?2")?
                .execute(params![lane.id, lane.gone])?;
            lane.undeleted = false;
        }
        Ok(())
    }

    /// Puts a request behind the others, in the place of the oldest ones where there is no room.
    pub(super) fn put(&mut self, parcel: &Parcel) -> rusqlite::Result<()> {
        let lane = self.lane(&parcel.lane)?;
        if parcel.bytes() > self.limit {
            self.count_loss(lane, Why::Full, parcel.items);
            return Ok(());
        }
        while self.bytes() + parcel.bytes() > self.limit {
            let Some(oldest) = self.oldest()? else { break };
            self.drop(&oldest, Why::Full)?;
        }
        self.transaction
            .prepare_cached(
                "INSERT INTO request (id, lane_id, signal, time, items, sent, body)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                self.next_id,
                self.lanes[lane].id,
                parcel.signal,
                parcel.time.cast_signed(),
                parcel.items.cast_signed(),
                parcel.sent,
                parcel.body,
            ])?;
        self.next_id += 1;
        let waiting = &mut self.lanes[lane].state.waiting;
        *waiting = Tally {
            requests: waiting.requests + 1,
            items: waiting.items.saturating_add(parcel.items),
            bytes: waiting.bytes + parcel.bytes(),
        };
        Ok(())
    }

    /// Drops what was made before `oldest_allowed`, Unix ns; so many requests at most.
    pub(super) fn expire(&mut self, oldest_allowed: u64, at_most: u32) -> rusqlite::Result<()> {
        for _ in 0..at_most {
            match self.oldest()? {
                Some(oldest) if oldest.time < oldest_allowed => self.drop(&oldest, Why::Old)?,
                _ => break,
            }
        }
        Ok(())
    }

    /// Writes the losses of the lanes that had some.
    pub(super) fn write_losses(&mut self) -> rusqlite::Result<()> {
        for lane in &self.lanes {
            if !self.dropped.iter().any(|dropped| dropped.lane == lane.name) {
                continue;
            }
            let LaneState { full, old, .. } = lane.state;
            self.transaction
                .prepare_cached(
                    "UPDATE lane SET full_requests = ?2, full_items = ?3, old_requests = ?4, old_items = ?5
                     WHERE id = ?1",
                )?
                .execute(params![
                    lane.id,
                    full.requests.cast_signed(),
                    full.items.cast_signed(),
                    old.requests.cast_signed(),
                    old.items.cast_signed(),
                ])?;
        }
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.state.waiting.bytes).sum()
    }

    /// Where the lane is in `lanes`; a new one gets a row.
    fn lane(&mut self, name: &str) -> rusqlite::Result<usize> {
        if let Some(known) = self.lanes.iter().position(|lane| lane.name == name) {
            return Ok(known);
        }
        let id = self
            .transaction
            .prepare_cached("INSERT INTO lane (name) VALUES (?1) RETURNING id")?
            .query_row([name], |row| row.get(0))?;
        self.lanes.push(Lane {
            id,
            name: name.to_owned(),
            state: LaneState::default(),
            gone: 0,
            undeleted: false,
        });
        Ok(self.lanes.len() - 1)
    }

    fn oldest(&self) -> rusqlite::Result<Option<Oldest>> {
        let read = |row: &Row<'_>| {
            Ok(Oldest {
                id: row.get(0)?,
                lane_id: row.get(1)?,
                time: unsigned(row, 2)?,
                items: unsigned(row, 3)?,
                bytes: unsigned(row, 4)? + OVERHEAD,
            })
        };
        self.transaction
            .prepare_cached("SELECT id, lane_id, time, items, length(body) FROM request ORDER BY id LIMIT 1")?
            .query_row([], read)
            .optional()
    }

    fn drop(&mut self, oldest: &Oldest, why: Why) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached("DELETE FROM request WHERE id = ?1")?
            .execute([oldest.id])?;
        if let Some(lane) = self.lanes.iter().position(|lane| lane.id == oldest.lane_id) {
            self.lanes[lane].take(oldest.id, oldest.items, oldest.bytes);
            self.count_loss(lane, why, oldest.items);
        }
        Ok(())
    }

    fn count_loss(&mut self, lane: usize, why: Why, items: u64) {
        let lane = &mut self.lanes[lane];
        lane.state.loss(why).add(items);
        let name = &lane.name;
        match self
            .dropped
            .iter_mut()
            .find(|dropped| dropped.why == why && dropped.lane == *name)
        {
            Some(dropped) => dropped.loss.add(items),
            None => self.dropped.push(Dropped {
                lane: name.clone(),
                why,
                loss: Loss { requests: 1, items },
            }),
        }
    }
}

impl LaneState {
    fn loss(&mut self, why: Why) -> &mut Loss {
        match why {
            Why::Full => &mut self.full,
            Why::Old => &mut self.old,
        }
    }
}

impl Loss {
    fn add(&mut self, items: u64) {
        self.requests += 1;
        self.items = self.items.saturating_add(items);
    }
}
