//! The only ways into a shard from other threads: answers of the rating thread, strays, orders of the control thread.

use tandem_call::calls::CallView;
use tandem_call::output::media_usage;
use tandem_leg::Now;
use tandem_media::LegMedia;
use tandem_media::rtcp::Quality;

use super::Shard;
use crate::orders::ShardOrder;

/// Strays and orders taken per turn, so that a flood of them cannot hold up the ring.
const BATCH: usize = 256;

impl Shard {
    pub(super) fn inbox(&mut self, now: Now) {
        let door = self.door.clone();
        // All answers: each frees a place in the queue, and calls wait for them.
        while let Some(answer) = door.answers.pop() {
            self.core.handle_answer(now, answer);
            self.drain(now);
        }
        for _ in 0..BATCH {
            let Some(stray) = door.strays.pop() else {
                break;
            };
            self.sip(now, stray.listener, stray.source, &stray.bytes);
        }
        while let Some(order) = door.orders.pop() {
            self.order(now, order);
        }
        if !door.strays.is_empty() {
            door.waker.wake();
        }
    }

    /// A view with what the fast path has counted so far.
    fn with_media(&self, now: Now, mut view: CallView) -> CallView {
        if let Some((caller, callee)) = view.media_ports {
            let (by_caller, by_callee) = (&mut view.fast_packets.0, &mut view.fast_packets.1);
            for (port, usage, by_fast) in
                [(caller, &mut view.caller_media_usage, by_caller), (callee, &mut view.callee_media_usage, by_callee)]
            {
                let paths = self.core.media_counters(port);
                *by_fast = paths[1].map_or(0, |counters| counters.packets);
                *usage = media_usage(&LegMedia::merge(paths.iter().flatten(), &Quality::default()), now);
            }
        }
        view
    }

    fn order(&mut self, now: Now, order: ShardOrder) {
        // A reply nobody waits for any more is no error: the asker gave up at its deadline.
        match order {
            ShardOrder::Publish { snapshot, known, prohibited, resend, done } => {
                let mut sip = self.core.endpoint().config().clone();
                sip.resend = resend;
                sip.reply_unauthorized = snapshot.settings.reply_unauthorized;
                sip.known = known;
                self.core.publish(sip, prohibited, snapshot);
                let _ = done.send(());
            }
            ShardOrder::Calls(from, reply) => {
                let (views, next) = self.core.calls().page(from, crate::limits::CALLS_PAGE);
                let views = views.into_iter().map(|view| self.with_media(now, view)).collect();
                let _ = reply.send((views, next));
            }
            ShardOrder::Call(flow_no, reply) => {
                let view = self.core.calls().show(flow_no);
                let _ = reply.send(view.map(|view| self.with_media(now, view)));
            }
            ShardOrder::Kill(flow_no, reply) => {
                let view = self.core.calls().show(flow_no);
                let killed = self.core.kill(now, flow_no);
                self.drain(now);
                let _ = reply.send(view.filter(|_| killed));
            }
            ShardOrder::Trace(flow_no, reply) => {
                let _ = reply.send(self.traces.of_flow(flow_no).cloned());
            }
            ShardOrder::Counts(reply) => {
                let _ = reply.send(Box::new(self.counts()));
            }
            ShardOrder::Media(reply) => {
                let _ = reply.send(Box::new(self.media_counts()));
            }
            ShardOrder::Copies(copies) => {
                for copy in copies {
                    self.core.handle_copy(now, copy.port, copy.reason, &copy.payload);
                    self.drain(now);
                }
            }
            ShardOrder::Orphans(flows) => {
                let orphans = self.core.remove_orphans(&flows);
                self.shared.media.count_orphans(&orphans);
            }
        }
    }
}
