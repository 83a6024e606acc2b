//! Runs requests through the model: together where that is cheaper, in pieces where they are large.
//!
//! One engine a thread. A request that comes alone waits for one turn of the event loop, in which everybody else whose bytes are there
//! joins it; while more keep coming it waits for `wait` at most.

use super::onnx::{Model, tensor::Tensor, within};
use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// How long the pieces of a large request may take together.
const LONGEST: Duration = Duration::from_secs(60);

/// How requests are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batching {
    /// Rows that are run at once.
    pub max: usize,
    /// How long a request waits for others at most.
    pub wait: Duration,
    /// Rows see nothing of each other, so that requests may share a run and large ones may be split.
    pub apart: bool,
    /// Rows together are cheaper than one by one.
    pub pays: bool,
}

type Answer = Result<Vec<Tensor>, String>;

struct Pending {
    inputs: Vec<Tensor>,
    rows: usize,
    answer: oneshot::Sender<Answer>,
}

/// A thread's way to the model.
pub struct Engine {
    model: Arc<Model>,
    batching: Batching,
    waiting: RefCell<Vec<Pending>>,
}

impl Engine {
    pub fn new(model: Arc<Model>, batching: Batching) -> Rc<Self> {
        Rc::new(Self { model, batching, waiting: RefCell::default() })
    }

    /// The outputs of one request. Runs inside a `LocalSet`.
    pub async fn infer(self: &Rc<Self>, inputs: Vec<Tensor>) -> Answer {
        let Batching { max, apart, pays, .. } = self.batching;
        let rows = rows(&inputs)?;
        if !apart || (rows <= max && !pays) {
            return run(&self.model, inputs);
        }
        if rows > max {
            return self.in_pieces(&inputs, rows).await;
        }
        let (answer, answered) = oneshot::channel();
        let first = {
            let mut waiting = self.waiting.borrow_mut();
            waiting.push(Pending { inputs, rows, answer });
            waiting.len() == 1
        };
        if first {
            // A task of its own: the client that came first may go away.
            tokio::task::spawn_local(self.clone().gather());
        }
        answered.await.unwrap_or_else(|_| Err("the model broke off".into()))
    }

    async fn in_pieces(&self, inputs: &[Tensor], rows: usize) -> Answer {
        let began = Instant::now();
        let mut all: Option<Vec<Tensor>> = None;
        for from in (0..rows).step_by(self.batching.max) {
            let to = (from + self.batching.max).min(rows);
            let part = run(&self.model, inputs.iter().map(|t| t.rows(from, to)).collect())?;
            if !have_rows(&part, to - from) {
                return Err("the model does not answer each row".into());
            }
            if began.elapsed() > LONGEST {
                return Err(format!("the request takes longer than {} s", LONGEST.as_secs()));
            }
            match &mut all {
                None => all = Some(part),
                Some(all) => {
                    for (whole, part) in all.iter_mut().zip(part) {
                        join(whole, part)?;
                    }
                    within(all)?;
                }
            }
            // Others have their turn, health checks among them.
            tokio::task::yield_now().await;
        }
        all.ok_or_else(|| "a request without rows".into())
    }

    async fn gather(self: Rc<Self>) {
        let began = Instant::now();
        let mut seen = 0;
        loop {
            tokio::task::yield_now().await;
            let (requests, rows) = {
                let waiting = self.waiting.borrow();
                (waiting.len(), waiting.iter().map(|p| p.rows).sum::<usize>())
            };
            if requests == seen || rows >= self.batching.max || began.elapsed() >= self.batching.wait {
                break;
            }
            seen = requests;
        }
        let mut waiting = self.waiting.take();
        while !waiting.is_empty() {
            let mut rows = 0;
            let fits = |p: &Pending| {
                rows += p.rows;
                rows <= self.batching.max
            };
            let n = waiting.iter().map(fits).take_while(|fits| *fits).count().max(1);
            self.together(waiting.drain(..n).collect());
        }
    }

    fn together(&self, requests: Vec<Pending>) {
        let shared = match requests.as_slice() {
            [_] => None,
            all => merged(all).and_then(|inputs| run(&self.model, inputs)).ok(),
        };
        let all = requests.iter().map(|p| p.rows).sum();
        let shared = shared.filter(|outputs| have_rows(outputs, all));
        let mut from = 0;
        for Pending { inputs, rows, answer } in requests {
            let mine = match &shared {
                Some(outputs) => Ok(outputs.iter().map(|t| t.rows(from, from + rows)).collect()),
                // Alone, or one of them cannot be answered: the others can.
                None => run(&self.model, inputs),
            };
            from += rows;
            // Who asked may be gone.
            let _ = answer.send(mine);
        }
    }
}

/// Rows of a request: the first dimension of all its inputs.
fn rows(inputs: &[Tensor]) -> Result<usize, String> {
    let mut all = inputs.iter().filter_map(|t| t.shape.first()).copied();
    let first = all.next().unwrap_or(1);
    match all.find(|n| *n != first) {
        Some(other) => Err(format!("inputs of {first} and of {other} rows")),
        None if first == 0 => Err("a request without rows".into()),
        None => Ok(first),
    }
}

/// Whether each output has so many rows: what was so for a sample need not be so for every request.
fn have_rows(outputs: &[Tensor], rows: usize) -> bool {
    outputs.iter().all(|t| t.shape.first() == Some(&rows))
}

fn join(whole: &mut Tensor, part: Tensor) -> Result<(), String> {
    if whole.shape.get(1..) != part.shape.get(1..) {
        return Err(format!("{} beside {}", part.describe(), whole.describe()));
    }
    if let (Some(rows), Some(more)) = (whole.shape.first_mut(), part.shape.first()) {
        *rows += more;
    }
    whole.data.append(part.data)
}

fn merged(requests: &[Pending]) -> Answer {
    let (first, others) = requests.split_first().ok_or("no requests")?;
    let mut inputs = first.inputs.clone();
    for other in others {
        for (whole, part) in inputs.iter_mut().zip(&other.inputs) {
            join(whole, part.clone())?;
        }
    }
    Ok(inputs)
}

/// One run. A panic would be a mistake of this program: it is an error of the request, and everything else goes on.
pub fn run(model: &Model, inputs: Vec<Tensor>) -> Answer {
    let done = catch_unwind(AssertUnwindSafe(|| model.run(inputs)));
    done.unwrap_or_else(|_| Err("the model broke off".into()))
}

/// Looks at how rows of a model go together: whether each row's answer is the same alone and beside others, and which is cheaper.
pub fn look(model: &Model, max: usize, wait: Duration) -> Batching {
    const ROWS: usize = 16;
    /// What it takes to put one request to others and to part the answers.
    const COST: Duration = Duration::from_micros(3);
    const SLOW: Duration = Duration::from_millis(200);
    let alone = Batching { max, wait, apart: false, pays: false };
    if !model.has_rows() {
        return alone;
    }
    let Some(sample) = model.sample(ROWS, 7) else { return alone };
    let each = |row: usize| run(model, sample.iter().map(|t| t.rows(row, row + 1)).collect());
    let began = Instant::now();
    let (Ok(whole), Ok(singles)) = (run(model, sample.clone()), (0..ROWS).map(each).collect::<Result<Vec<_>, _>>())
    else {
        return alone;
    };
    // Of what is slow, one time says enough.
    let times = if began.elapsed() > SLOW { 1 } else { 8 };
    let same = singles.iter().enumerate().all(|(row, single)| {
        whole.iter().zip(single).all(|(w, s)| w.shape.first() == Some(&ROWS) && same(&w.rows(row, row + 1), s))
    });
    if !same {
        return alone;
    }
    let time = |f: &dyn Fn()| {
        // The best of some: what else the machine does only adds.
        let once = || {
            let began = Instant::now();
            f();
            began.elapsed()
        };
        (0..times).map(|_| once()).min().unwrap_or_default()
    };
    let together = time(&|| drop(run(model, sample.clone())));
    let apart = time(&|| (0..ROWS).for_each(|row| drop(each(row))));
    Batching { apart: true, pays: together + COST * (ROWS as u32) < apart, ..alone }
}

/// Bit by bit, so that what is no number is equal to itself.
fn same(a: &Tensor, b: &Tensor) -> bool {
    use super::onnx::tensor::Data;
    a.shape == b.shape
        && match (&a.data, &b.data) {
            (Data::F32(x), Data::F32(y)) => x.iter().zip(y).all(|(x, y)| x.to_bits() == y.to_bits()),
            (Data::F64(x), Data::F64(y)) => x.iter().zip(y).all(|(x, y)| x.to_bits() == y.to_bits()),
            (x, y) => x == y,
        }
}
