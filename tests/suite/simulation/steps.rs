//! The steps of a simulation, drawn from a seed, and the search for the shortest run that
//! fails.

/// A step: what happens, and numbers that choose among what there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub what: What,
    pub a: u32,
    pub b: u32,
    /// A second step that begins while this one waits for the n-th time; then the first goes
    /// on, or its caller leaves.
    pub meets: Option<(What, u8, bool)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    SignUp,
    Verify,
    VerifyEmail,
    LogIn,
    IssueToken,
    ChangePassword,
    SetName,
    RevokeTokens,
    BeginReset,
    CompleteReset,
    BeginChange,
    CompleteChange,
    BeginReclaim,
    CompleteReclaim,
    RequestDeletion,
    CancelDeletion,
    Disable,
    Enable,
    Erase,
    EraseDue,
    Relay,
    ClockAhead,
    ClockBeforeEpoch,
    Advance,
    Restart,
    PoisonToggles,
    PolicyHangs,
    GuessLogIn,
    GuessAllDay,
    GuessWithToken,
    GuessRetry,
    Flood,
    Probe,
    WrongCodes,
    MailFlood,
    Colleagues,
    StoreFails,
    HostFails,
    RotateSecrets,
}

use What::{
    Advance, BeginChange, BeginReclaim, BeginReset, CancelDeletion, ChangePassword, ClockAhead,
    ClockBeforeEpoch, Colleagues, CompleteChange, CompleteReclaim, CompleteReset, Disable, Enable,
    Erase, EraseDue, Flood, GuessAllDay, GuessLogIn, GuessRetry, GuessWithToken, HostFails,
    IssueToken, LogIn, MailFlood, PoisonToggles, PolicyHangs, Probe, Relay, RequestDeletion,
    Restart, RevokeTokens, RotateSecrets, SetName, SignUp, StoreFails, Verify, VerifyEmail,
    WrongCodes,
};

/// The weight of each step in a draw.
const WEIGHTS: [(What, u32); 39] = [
    (SignUp, 14),
    (Verify, 8),
    (VerifyEmail, 3),
    (LogIn, 12),
    (IssueToken, 6),
    (ChangePassword, 6),
    (SetName, 1),
    (RevokeTokens, 1),
    (BeginReset, 6),
    (CompleteReset, 8),
    (BeginChange, 4),
    (CompleteChange, 5),
    (BeginReclaim, 4),
    (CompleteReclaim, 4),
    (RequestDeletion, 3),
    (CancelDeletion, 1),
    (Disable, 1),
    (Enable, 2),
    (Erase, 1),
    (EraseDue, 3),
    (Relay, 4),
    (ClockAhead, 1),
    (ClockBeforeEpoch, 1),
    (Advance, 6),
    (Restart, 2),
    (PoisonToggles, 3),
    (PolicyHangs, 1),
    (GuessLogIn, 2),
    (GuessAllDay, 1),
    (GuessWithToken, 1),
    (GuessRetry, 1),
    (Flood, 1),
    (Probe, 2),
    (WrongCodes, 2),
    (MailFlood, 2),
    (Colleagues, 2),
    (StoreFails, 6),
    (HostFails, 3),
    (RotateSecrets, 1),
];

/// The steps that another one may meet.
const RACED: [What; 7] =
    [SignUp, Verify, LogIn, IssueToken, ChangePassword, CompleteReset, CompleteReclaim];
/// The operations in which the store may fail.
pub const SETTLED: [What; 7] =
    [SignUp, SignUp, Verify, ChangePassword, CompleteReset, CompleteChange, CompleteReclaim];
const RACING: [What; 6] =
    [ChangePassword, CompleteReset, CompleteReclaim, CompleteChange, RevokeTokens, Erase];

/// A sequence of numbers that depends on its seed alone (splitmix64).
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: u32) -> u32 {
        u32::try_from(self.next() % u64::from(end)).unwrap()
    }

    fn step(&mut self) -> Step {
        let total = WEIGHTS.iter().map(|(_, weight)| weight).sum();
        let mut drawn = self.below(total);
        let mut weights = WEIGHTS.iter();
        let what = loop {
            let (what, weight) = weights.next().unwrap();
            match drawn.checked_sub(*weight) {
                Some(rest) => drawn = rest,
                None => break *what,
            }
        };
        let [a, b] = [self.below(1 << 16), self.below(1 << 16)];
        let races = RACED.contains(&what) && self.below(4) == 0;
        let other = RACING[self.below(6) as usize];
        let (pause, leaves) = (self.below(6), self.below(3) == 0);
        let meets = races.then(|| (other, u8::try_from(pause).unwrap(), leaves));
        Step { what, a, b, meets }
    }
}

/// Draws the steps of a seed.
pub fn steps(seed: u64, count: usize) -> Vec<Step> {
    let mut numbers = Numbers(seed);
    std::iter::repeat_with(|| numbers.step()).take(count).collect()
}

/// Leaves out as many steps as possible, while a run of them still fails.
pub fn shrink(mut steps: Vec<Step>, fails: impl Fn(&[Step]) -> bool) -> Vec<Step> {
    let mut piece = steps.len() / 2;
    while piece > 0 {
        let mut at = 0;
        while at < steps.len() {
            let end = (at + piece).min(steps.len());
            let without = [&steps[..at], &steps[end..]].concat();
            if fails(&without) {
                steps = without;
            } else {
                at = end;
            }
        }
        piece /= 2;
    }
    for at in 0..steps.len() {
        let mut alone = steps.clone();
        alone[at].meets = None;
        if fails(&alone) {
            steps = alone;
        }
    }
    steps
}
