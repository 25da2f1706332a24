/* Membership, commit and recovery of one peer group of three members, for the model checker Spin.
 *
 * What is modelled, what is left out, and which function of the core each step stands for is in
 * docs/internals/model.md; check.py compiles and runs the configurations. The parameters below are set with
 * -D. Sets of members are masks. Everything is global, so that a step reads like the rule it stands for;
 * each step is atomic, like one event in the core.
 *
 * Checked: assertions (agreement, fencing), and that when nothing can happen any more every living member
 * has the outcome of all its calls and is not frozen (the end of World).
 */

#ifndef OPS
#define OPS 1          /* calls per member on one tag, 1 or 2 */
#endif
#ifndef RETRY
#define RETRY 1        /* the group's policy: 1 retry, 0 report */
#endif
#ifndef CRASHES
#define CRASHES 1      /* members that may die */
#endif
#ifndef RESTARTS
#define RESTARTS 0     /* times that the coordinator may die; it always comes back */
#endif
#ifndef SUSPICIONS
#define SUSPICIONS 0   /* evictions of living members for silence */
#endif
#ifndef CUTS
#define CUTS 0         /* links between two members, or of a member to the coordinator, that may break */
#endif
#ifndef ODD
#define ODD 0          /* calls with another descriptor than the others' */
#endif

#ifndef QUEUE
#define QUEUE 4        /* frames on their way between a member and the coordinator; an overflow is found */
#endif

#define N 3
#define BIT(i) (1 << (i))
#define HAS(set, i) (((set) >> (i)) & 1)
#define OP(i, k) ((i) * OPS + (k))
#define LINK(i, j) ((i) * N + (j))
#define PAIR(i, j) ((i) + (j) - 1)

/* Epoch ids are (term, number), ordered; the first epoch is 1 in term 0. */
#define NUMBERS 8
#define EPOCH(term, number) ((term) * NUMBERS + (number))

/* Lives of a member. */
#define LIVE 0
#define DEAD 1
#define EVICTED 2

/* States of an open operation; from DONE on also of ended ones in records. ENDED: covered by an Install. */
#define NONE 0
#define INCOMPLETE 1
#define PARTIAL 2
#define COMPLETE 3
#define SUCCESS 4
#define ERROR 5
#define ENDED 6

/* Outcomes: 0 none yet, the contributors of a success, or this. */
#define FAILED 8

/* Verdicts of a decision. */
#define UNDECIDED 0
#define FAIL 1
#define COMMIT 2
#define FINISH 3
#define RESUME 4
#define REDO 5
#define REPORT 6

/* A record is a state with its attempt, a decision a verdict with its attempt. */
#define PACK(low, attempt) ((low) | ((attempt) << 3))
#define LOW(packed) ((packed) & 7)
#define ATTEMPT(packed) ((packed) >> 3)

/* Messages. */
#define PROPOSE 1      /* id, members */
#define INSTALL 2      /* id, members, decisions */
#define EVICT 3
#define FROZEN 4       /* id, installed, which descriptors are odd, records */
#define SUSPECT 5      /* epoch, whom */

/* ---- members ---- */
byte life[N];
byte installed[N];
byte members[N];               /* of the installed epoch */
byte promised[N];
#define frozen(i) (promised[i] > installed[i])
byte suspects[N];              /* standing suspicions */
byte called[N];                /* number of calls so far */
byte state[N];                 /* of the open operation: that of the last call */
byte attempt[N];
byte contributors[N];
byte outcome[N * OPS];
byte recorded[N];              /* ended, and not covered by an applied Install */
byte tombstones[N];
byte faulty[N];                /* tombstones of a mismatch, which a record tells */
byte odd[N];                   /* calls made with an odd descriptor */
byte resumed[N * OPS];         /* attempts that go on and are not called here */
byte done[N * OPS];            /* who has reported in the current epoch */
byte early[N * OPS];           /* and in the promised one */
byte decided[N * OPS];         /* the decisions of the installed epoch; one without a record tells them */

/* ---- coordinator ---- */
#define DOWN 0
#define RECOVERING 1
#define RUNNING 2
byte c_up = RUNNING;
byte c_number = 1;             /* last number used in this term */
byte c_alive = 7;              /* members of the run */
byte c_lost;                   /* whose connection it has seen closing */
byte c_seen;                   /* registered since the restart */
byte c_closed;                 /* whose lane a peer reported closed */
byte c_links;                  /* pairs reported as broken since the last Install */
bit c_wanted;                  /* a change waits for the end of an Install or of the recovery */
byte g_epoch = 1;              /* the group: its last Install */
byte g_members = 7;
byte g_decisions[OPS];
bit installing;                /* ... which waits for the record */
byte p_epoch;                  /* the proposal, 0: none */
byte p_members;
byte p_answered;
byte p_records[N * OPS];
byte p_odd[N];
#ifdef RECORD_AFTER_INSTALL
bit sent;                      /* and that record is not yet written */
#endif
/* its record */
byte d_term;
byte d_epoch = 1;
byte d_members = 7;
byte d_decisions[OPS];
#ifdef STALE_RECORD
byte o_epoch = 1;              /* the one before */
byte o_members = 7;
byte o_decisions[OPS];
#endif

/* ---- network ---- */
byte connected = 7;            /* connections to the coordinator */
byte cut[N];                   /* broken links, at both ends */
chan to_member[N] = [QUEUE] of { byte, byte, byte, byte, byte };
chan to_coordinator[N] = [QUEUE] of { byte, byte, byte, byte, byte, byte };
chan peer[N * N] = [3] of { byte, byte };      /* epoch, operation of a Done; from OPS on of a Mismatch */

/* ---- faults still to come ---- */
byte crashes = CRASHES;
byte restarts = RESTARTS;
byte suspicions = SUSPICIONS;
byte cuts = CUTS;
byte odds = ODD;

/* ---- ghosts ---- */
byte gone;                     /* left out of an epoch that is in the record */

/* Scratch, 0 or meaningless between steps. */
hidden byte a, b, c, d, e, f, h;
hidden byte x, y, z, u, v, w;
hidden byte all_called, same_attempt, all_complete, any_complete, any_error, differ, half0, half1, over;

/* ------------------------------------------------------------------ outcomes */

/* Nobody, dead or evicted included, got anything else; contributors have called. */
inline set_outcome(i, k, value) {
    assert(outcome[OP(i, k)] == 0);
    outcome[OP(i, k)] = value;
    assert(outcome[OP(0, k)] == 0 || outcome[OP(0, k)] == (value));
    assert(outcome[OP(1, k)] == 0 || outcome[OP(1, k)] == (value));
    assert(outcome[OP(2, k)] == 0 || outcome[OP(2, k)] == (value));
    assert((value) == FAILED || !HAS(value, 0) || called[0] > (k));
    assert((value) == FAILED || !HAS(value, 1) || called[1] > (k));
    assert((value) == FAILED || !HAS(value, 2) || called[2] > (k));
}

/* The open call of i ends; its record is kept until the next Install. */
inline end_op(i, value) {
    set_outcome(i, called[i] - 1, value);
    if
    :: (value) != FAILED -> recorded[i] = BIT(called[i] - 1)
    :: else -> recorded[i] = recorded[i] | BIT(called[i] - 1)
    fi;
    state[i] = NONE;
    attempt[i] = 0;
    contributors[i] = 0
}

/* ------------------------------------------------------------------ messages of members */

inline tell_peers(i, text) {
    u = 0;
    do
    :: u < N ->
        if
        :: u != i && HAS(members[i], u) && !HAS(cut[i], u) && life[u] == LIVE ->
            assert(nfull(peer[LINK(i, u)]));
            peer[LINK(i, u)]!installed[i], text
        :: else
        fi;
        u++
    :: else -> break
    od;
    u = 0
}

inline record_of(i, k, out) {
    if
    :: called[i] > (k) && outcome[OP(i, k)] == 0 -> out = PACK(state[i], attempt[i])
#ifdef FORGET_RETURNED
    :: called[i] > (k) && outcome[OP(i, k)] != 0 -> out = NONE
#else
    :: called[i] > (k) && outcome[OP(i, k)] != 0 && !HAS(recorded[i], k) -> out = ENDED
    :: HAS(recorded[i], k) && outcome[OP(i, k)] == FAILED -> out = ERROR
    /* The attempt of an ended operation is kept in a slot that only uncalled ones use otherwise. */
    :: HAS(recorded[i], k) && outcome[OP(i, k)] != FAILED -> out = PACK(SUCCESS, resumed[OP(i, k)])
#endif
    :: called[i] <= (k) && HAS(faulty[i], k) -> out = ERROR
    :: called[i] <= (k) && !HAS(faulty[i], k) -> out = NONE
    fi
}

inline send_frozen(i) {
    if
    :: HAS(connected, i) ->
        record_of(i, 0, x);
#if OPS == 2
        record_of(i, 1, y);
#endif
        assert(nfull(to_coordinator[i]));
        to_coordinator[i]!FROZEN, promised[i], installed[i], odd[i], x, y;
        x = 0; y = 0
    :: else
    fi
}

/* ------------------------------------------------------------------ steps of members */

inline call_op(i) {
    printf("member %d: call %d\n", i, called[i] + 1);
    called[i]++;
    if
    :: HAS(tombstones[i], called[i] - 1) ->
        tombstones[i] = tombstones[i] & ~BIT(called[i] - 1);
        faulty[i] = faulty[i] & ~BIT(called[i] - 1);
        set_outcome(i, called[i] - 1, FAILED)
    :: !HAS(tombstones[i], called[i] - 1) && members[i] == BIT(i) ->
        set_outcome(i, called[i] - 1, FAILED)
    :: else ->
        state[i] = INCOMPLETE;
        contributors[i] = members[i];
        attempt[i] = (resumed[OP(i, called[i] - 1)] != 0 -> resumed[OP(i, called[i] - 1)] : installed[i]);
        resumed[OP(i, called[i] - 1)] = 0
    fi
}

/* j's part of i's open call can have come: j has entered it in i's epoch. Of a j that has gone on to a later
 * epoch it may be wrong, but then i is out of the run and its records count no more. */
#define entered(i, j) (!HAS(members[i], j) || (called[j] >= called[i] && installed[j] >= installed[i]))
#define all_entered(i) (entered(i, 0) && entered(i, 1) && entered(i, 2))
#define is_odd(i, j) (HAS(odd[j], called[i] - 1))
#define differs(i, j) (HAS(members[i], j) && entered(i, j) && is_odd(i, j) != is_odd(i, i))
#define any_differs(i) (differs(i, 0) || differs(i, 1) || differs(i, 2))

#ifdef NO_FREEZE
#define moves(i) (life[i] == LIVE)
#else
#define moves(i) (life[i] == LIVE && !frozen(i))
#endif
#define open(i) (state[i] != NONE)
#define reported(i) (done[OP(i, called[i] - 1)] | BIT(i))
#define AT_LEAST_TWO(set) ((set) == 3 || (set) == 5 || (set) == 6 || (set) == 7)
#ifdef MAJORITY_BARRIER
#define barrier_passed(i) ((members[i] & ~reported(i)) == 0 || AT_LEAST_TWO(members[i] & reported(i)))
#else
#ifdef NO_BARRIER
#define barrier_passed(i) 1
#else
#define barrier_passed(i) ((members[i] & ~reported(i)) == 0)
#endif
#endif

inline enter_barrier(i) {
    printf("member %d: complete, in the barrier\n", i);
    state[i] = COMPLETE;
    tell_peers(i, called[i] - 1)
}

inline return_success(i) {
    printf("member %d: success through the barrier\n", i);
    w = attempt[i];
    z = called[i] - 1;
    end_op(i, contributors[i]);
    resumed[OP(i, z)] = w;
    w = 0; z = 0
}

inline raise_mismatch(i) {
    printf("member %d: descriptors differ\n", i);
    tell_peers(i, OPS + called[i] - 1);
    end_op(i, FAILED)
}

inline on_peer_frame(i, j) {
    printf("member %d: receives from %d\n", i, j);
    peer[LINK(j, i)]?a, b;
    if
    :: frozen(i) && a == promised[i] ->
        if
        :: b < OPS -> early[OP(i, b)] = early[OP(i, b)] | BIT(j)
        :: else -> early[OP(i, b - OPS)] = early[OP(i, b - OPS)] | BIT(j + N)
        fi
    :: moves(i) && a == installed[i] && HAS(members[i], j) -> take_frame(i, j, b)
    :: else
    fi;
    a = 0; b = 0
}

/* A Done or Mismatch of the current epoch. */
inline take_frame(i, j, text) {
    if
    :: (text) < OPS ->
        if
        :: called[i] <= (text) || (called[i] - 1 == (text) && open(i)) ->
            done[OP(i, text)] = done[OP(i, text)] | BIT(j)
        :: else
        fi
    :: (text) >= OPS && called[i] <= (text) - OPS ->
        tombstones[i] = tombstones[i] | BIT((text) - OPS);
        faulty[i] = faulty[i] | BIT((text) - OPS)
    :: (text) >= OPS && called[i] - 1 == (text) - OPS && open(i) -> end_op(i, FAILED)
    :: else
    fi
}

inline notice_loss(i, j) {
    printf("member %d: suspects %d\n", i, j);
    suspects[i] = suspects[i] | BIT(j);
    /* What was on its way is lost; frames that came before are steps of their own. */
    do
    :: nempty(peer[LINK(j, i)]) -> peer[LINK(j, i)]?x, y
    :: empty(peer[LINK(j, i)]) -> break
    od;
    x = 0; y = 0;
    if
    :: HAS(connected, i) ->
        assert(nfull(to_coordinator[i]));
        to_coordinator[i]!SUSPECT, installed[i], j, 0, 0, 0
    :: else
    fi
}

/* Out of the run: what is on its way to it concerns nobody, what it said may still arrive. */
inline leave(i, how) {
    printf("member %d: gone (1 dead, 2 evicted): %d\n", i, how);
    life[i] = how;
    u = 0;
    do
    :: u < N && nempty(peer[LINK(u, i)]) -> peer[LINK(u, i)]?x, y
    :: u < N && empty(peer[LINK(u, i)]) -> u++
    :: u == N -> break
    od;
    do
    :: nempty(to_member[i]) -> to_member[i]?v, w, x, y, z
    :: empty(to_member[i]) -> break
    od;
    u = 0; v = 0; w = 0; x = 0; y = 0; z = 0;
    promised[i] = installed[i];
    state[i] = NONE; attempt[i] = 0; contributors[i] = 0;
    suspects[i] = 0; tombstones[i] = 0; faulty[i] = 0; recorded[i] = 0;
    done[OP(i, 0)] = 0; early[OP(i, 0)] = 0; resumed[OP(i, 0)] = 0;
#if OPS == 2
    done[OP(i, 1)] = 0; early[OP(i, 1)] = 0; resumed[OP(i, 1)] = 0;
#endif
    skip
}

inline on_propose(i) {
    printf("member %d: receives Propose %d of members %d\n", i, b, c);
    if
    :: b >= promised[i] && b > installed[i] ->
        assert(HAS(c, i));
        promised[i] = b;
        early[OP(i, 0)] = 0;
#if OPS == 2
        early[OP(i, 1)] = 0;
#endif
        send_frozen(i)
    :: else
    fi
}

inline apply_decision(i, k, decision) {
    if
    :: called[i] - 1 == (k) && open(i) ->
        if
        :: LOW(decision) == COMMIT ->
            assert(state[i] == COMPLETE);          /* a success has a result */
            end_op(i, contributors[i])
        :: LOW(decision) == FAIL || LOW(decision) == REPORT -> end_op(i, FAILED)
        :: LOW(decision) == REDO ->
            if
            :: members[i] == BIT(i) -> end_op(i, FAILED)
            :: else ->
                state[i] = INCOMPLETE;
                attempt[i] = installed[i];
                contributors[i] = members[i]
            fi
        :: LOW(decision) == FINISH || LOW(decision) == RESUME ->
            if
            :: state[i] == COMPLETE -> tell_peers(i, k)
            :: else
            fi
        :: else -> assert(false)               /* undecided */
        fi
    :: called[i] <= (k) ->
        resumed[OP(i, k)] = (LOW(decision) == RESUME -> ATTEMPT(decision) : 0);
        if
#ifndef NO_TOMBSTONE
        :: LOW(decision) == FAIL || LOW(decision) == REPORT -> tombstones[i] = tombstones[i] | BIT(k)
#endif
        :: else
        fi
    :: else -> resumed[OP(i, k)] = 0
    fi;
    done[OP(i, k)] = 0
}

inline take_early(i, k) {
    h = early[OP(i, k)];
    early[OP(i, k)] = 0;
    f = 0;
    do
    :: f < N ->
        if
        :: HAS(h, f) && HAS(members[i], f) -> take_frame(i, f, k)
        :: else
        fi;
        if
        :: HAS(h, f + N) && HAS(members[i], f) -> take_frame(i, f, OPS + k)
        :: else
        fi;
        f++
    :: else -> break
    od;
    f = 0; h = 0
}

/* There is one Install of an epoch: whoever has had the same one, dead members included, has the same. */
#define same_epoch(i, j) (installed[i] != installed[j] || (members[i] == members[j] && \
                          decided[OP(i, 0)] == decided[OP(j, 0)] && \
                          decided[OP(i, OPS - 1)] == decided[OP(j, OPS - 1)]))

inline on_install(i) {
    printf("member %d: receives Install %d of members %d, verdict %d\n", i, b, c, LOW(d));
    if
    :: b == promised[i] && b > installed[i] ->
        assert(HAS(c, i) && (c & ~members[i]) == 0);   /* nobody comes back */
        installed[i] = b;
        members[i] = c;
        decided[OP(i, 0)] = d;
        decided[OP(i, OPS - 1)] = e;
        assert(same_epoch(i, 0) && same_epoch(i, 1) && same_epoch(i, 2));
        suspects[i] = 0;
        apply_decision(i, 0, d);
#if OPS == 2
        apply_decision(i, 1, e);
#endif
        recorded[i] = 0;
        take_early(i, 0);
#if OPS == 2
        take_early(i, 1);
#endif
    :: else
    fi
}

inline on_coordinator_frame(i) {
    to_member[i]?a, b, c, d, e;
    if
    :: a == PROPOSE -> on_propose(i)
    :: a == INSTALL -> on_install(i)
    :: a == EVICT -> leave(i, EVICTED)
    fi;
    a = 0; b = 0; c = 0; d = 0; e = 0
}

/* ------------------------------------------------------------------ steps of the coordinator */

inline send_install(i) {
    if
    :: HAS(connected, i) && life[i] == LIVE ->
        assert(nfull(to_member[i]));
        to_member[i]!INSTALL, g_epoch, g_members, g_decisions[0], g_decisions[OPS - 1]
    :: else
    fi
}

inline send_propose(i) {
    if
    :: HAS(connected, i) && life[i] == LIVE ->
        assert(nfull(to_member[i]));
        to_member[i]!PROPOSE, p_epoch, p_members, 0, 0
    :: else
    fi
}

inline forget_answers() {
    u = 0;
    do
    :: u < N * OPS -> p_records[u] = 0; u++
    :: else -> break
    od;
    u = 0;
    p_odd[0] = 0; p_odd[1] = 0; p_odd[2] = 0;
    p_answered = 0
}

inline propose() {
    printf("coordinator: proposes number %d\n", c_number + 1);
    c_number++;
    assert(c_number < NUMBERS);
    p_epoch = EPOCH(d_term, c_number);
    assert(p_epoch > g_epoch);
    p_members = g_members & c_alive;
    assert((p_members & gone) == 0);
    forget_answers();
    if
    :: p_members == 0 -> p_epoch = 0
    :: else ->
        u = 0;
        do
        :: u < N ->
            if
            :: HAS(p_members, u) -> send_propose(u)
            :: else
            fi;
            u++
        :: else -> break
        od;
        u = 0
    fi
}

inline need_change() {
    if
    :: installing || c_up == RECOVERING -> c_wanted = 1
    :: else -> propose()
    fi
}

inline evict(j) {
    printf("coordinator: evicts %d\n", j);
    c_alive = c_alive & ~BIT(j);
    if
    :: HAS(connected, j) && life[j] == LIVE ->
        assert(nfull(to_member[j]));
        to_member[j]!EVICT, 0, 0, 0, 0
    :: else
    fi;
    connected = connected & ~BIT(j);
    need_change()
}

inline on_suspect(i, epoch, j) {
    printf("coordinator: hears that %d suspects %d\n", i, j);
    if
    :: epoch == g_epoch && HAS(c_alive, i) && HAS(c_alive & g_members, j) ->
        c_closed = c_closed | BIT(j);
        if
        :: HAS(c_lost, j) -> evict(j)
        :: !HAS(c_lost, j) && !HAS(c_links, PAIR(i, j)) ->
            c_links = c_links | BIT(PAIR(i, j));
            need_change()
        :: else
        fi
    :: else
    fi
}

inline on_frozen(i) {
    printf("coordinator: receives Frozen of %d for %d, state %d\n", i, b, LOW(e));
    if
    :: p_epoch != 0 && b == p_epoch && HAS(p_members, i) && c == g_epoch ->
        p_records[OP(i, 0)] = e;
#if OPS == 2
        p_records[OP(i, 1)] = f;
#endif
        p_odd[i] = d;
        p_answered = p_answered | BIT(i)
    :: else
    fi
}

inline on_member_frame(i) {
    to_coordinator[i]?a, b, c, d, e, f;
    if
    :: HAS(c_alive, i) ->
        if
        :: a == SUSPECT -> on_suspect(i, b, c)
        :: a == FROZEN -> on_frozen(i)
        fi
    :: else
    fi;
    a = 0; b = 0; c = 0; d = 0; e = 0; f = 0
}

/* The verdict for operation k from the survivors' records, into g_decisions[k]. */
inline decide_one(k) {
    all_called = true; same_attempt = true; all_complete = true; any_complete = false;
    any_error = false; differ = false; half0 = false; half1 = false; over = true;
    v = 0;                             /* the attempt */
    w = 2;                             /* the descriptor: unknown yet */
    u = 0;
    do
    :: u < N && HAS(p_members, u) ->
        x = LOW(p_records[OP(u, k)]);
        if
        :: x == INCOMPLETE || x == PARTIAL || x == COMPLETE || x == SUCCESS ->
            if
            :: v == 0 -> v = ATTEMPT(p_records[OP(u, k)])
            :: else -> same_attempt = same_attempt && v == ATTEMPT(p_records[OP(u, k)])
            fi;
            differ = differ || (w != 2 && w != HAS(p_odd[u], k));
            w = HAS(p_odd[u], k)
        :: else
        fi;
        all_called = all_called && x != NONE;
        any_error = any_error || x == ERROR;
        over = over && (x == SUCCESS || x == ERROR || x == ENDED);
        all_complete = all_complete && (x == COMPLETE || x == SUCCESS || x == ENDED);
        any_complete = any_complete || x == COMPLETE || x == SUCCESS || x == ENDED;
        half0 = half0 || (x == PARTIAL && u != 1);
        half1 = half1 || (x == PARTIAL && u == 1);
        y = y | (x != NONE);           /* somebody lists it */
        u++
    :: u < N && !HAS(p_members, u) -> u++
    :: else -> break
    od;
    if
    :: over || !y -> x = UNDECIDED; v = 0
    :: !over && y && any_error -> x = FAIL; v = 0
    :: !over && y && !any_error && differ -> x = FAIL; v = 0
    :: else ->
        if
#ifdef COMMIT_IF_ANY
        :: any_complete -> x = COMMIT
#else
        :: all_complete && same_attempt -> x = COMMIT
#endif
        :: else ->
            if
            :: all_called && same_attempt && (any_complete || (half0 && half1)) -> x = FINISH
            :: else ->
                if
                :: p_members == g_members && same_attempt -> x = RESUME
                :: else -> x = (RETRY -> REDO : REPORT); v = 0
                fi
            fi
        fi
    fi;
    g_decisions[k] = PACK(x, v);
    u = 0; v = 0; w = 0; x = 0; y = 0
}

/* Both ends of every link agree on it, since those that were lost are opened anew during the change. */
inline open_links() {
    u = 0;
    do
    :: u < N ->
        if
        :: HAS(p_members, u) -> cut[u] = cut[u] & ~p_members
        :: else
        fi;
        u++
    :: else -> break
    od;
    u = 0
}

inline build_install() {
    printf("coordinator: decides epoch %d of members %d\n", p_epoch, p_members);
    open_links();
    decide_one(0);
#if OPS == 2
    decide_one(1);
#endif
    g_epoch = p_epoch;
    g_members = p_members;
    c_closed = 0;
    c_links = 0;
    installing = 1;
    p_epoch = 0;
    p_members = 0;
    forget_answers()
}

inline write_record() {
    printf("coordinator: epoch %d is in the record\n", g_epoch);
#ifdef STALE_RECORD
    o_epoch = d_epoch;
    o_members = d_members;
    o_decisions[0] = d_decisions[0];
    o_decisions[OPS - 1] = d_decisions[OPS - 1];
#endif
    gone = gone | (d_members & ~g_members);
    d_epoch = g_epoch;
    d_members = g_members;
    d_decisions[0] = g_decisions[0];
    d_decisions[OPS - 1] = g_decisions[OPS - 1]
}

inline send_installs() {
    printf("coordinator: sends Install %d\n", g_epoch);
    v = 0;
    do
    :: v < N ->
        if
        :: HAS(g_members & c_alive, v) -> send_install(v)
        :: else
        fi;
        v++
    :: else -> break
    od;
    v = 0
}

inline change_if_wanted() {
    if
    :: c_wanted -> c_wanted = 0; propose()
    :: else
    fi
}

/* A crash between the two is like one before the first or after the second: in the first case what was sent
 * is lost with the connections. */
inline persisted() {
    write_record();
    installing = 0;
    send_installs();
    change_if_wanted()
}

inline drain_coordinator(i) {
    do
    :: nempty(to_member[i]) -> to_member[i]?a, b, c, d, e
    :: empty(to_member[i]) -> break
    od;
    do
    :: nempty(to_coordinator[i]) -> to_coordinator[i]?a, b, c, d, e, f
    :: empty(to_coordinator[i]) -> break
    od;
    a = 0; b = 0; c = 0; d = 0; e = 0; f = 0
}

#ifdef FORGET_RECORD
/* Without a record the highest report stands for it. */
inline adopt_report(i) {
    if
    :: c_up == RECOVERING && installed[i] > g_epoch ->
        g_epoch = installed[i];
        g_members = members[i];
        g_decisions[0] = decided[OP(i, 0)];
        g_decisions[OPS - 1] = decided[OP(i, OPS - 1)];
        c_alive = g_members;
        d_epoch = g_epoch;
        d_members = g_members;
        connected = connected & g_members;
        c_seen = c_seen & g_members
    :: else
    fi
}
#endif

/* A new connection: everything of the old one is discarded. Nothing else that the member does touches what it
 * tells here, so that sending and receiving are one step. */
inline register_again(i) {
    printf("member %d: registers again\n", i);
    drain_coordinator(i);
#ifdef FORGET_RECORD
    adopt_report(i);
#endif
    if
    :: !HAS(c_alive, i) -> leave(i, EVICTED)
    :: else ->
        connected = connected | BIT(i);
        c_lost = c_lost & ~BIT(i);
        c_seen = c_seen | BIT(i);
#if !defined(FORGET_RECORD) && !defined(RECORD_AFTER_INSTALL) && !defined(STALE_RECORD)
        assert(installed[i] <= g_epoch);       /* every Install that was sent is in the record */
#endif
        if
#ifndef NO_RESEND
        :: !installing && installed[i] != g_epoch -> send_install(i)
#endif
        :: else
        fi;
        if
        :: p_epoch != 0 && HAS(p_members, i) -> send_propose(i)
        :: else
        fi;
        if
        :: c_up == RECOVERING && promised[i] > g_epoch -> c_wanted = 1
        :: else
        fi;
        w = installed[i];
        z = 0;
        do
        :: z < N ->
            if
            :: HAS(suspects[i], z) -> on_suspect(i, w, z)
            :: else
            fi;
            z++
        :: else -> break
        od;
        w = 0; z = 0
    fi
}

inline crash_coordinator() {
    printf("coordinator: crashes\n");
    c_up = DOWN;
    connected = 0;
    c_number = 0; c_alive = 0; c_lost = 0; c_seen = 0; c_closed = 0; c_links = 0; c_wanted = 0;
    g_epoch = 0; g_members = 0; g_decisions[0] = 0; g_decisions[OPS - 1] = 0;
    installing = 0; p_epoch = 0; p_members = 0;
#ifdef RECORD_AFTER_INSTALL
    sent = 0;
#endif
    forget_answers()
}

inline restart_coordinator() {
    printf("coordinator: restarts\n");
    c_up = RECOVERING;
#ifdef REUSE_TERM
    c_number = d_epoch % NUMBERS;
#else
    d_term++;
#endif
#ifdef STALE_RECORD
    d_epoch = o_epoch;
    d_members = o_members;
    d_decisions[0] = o_decisions[0];
    d_decisions[OPS - 1] = o_decisions[OPS - 1];
#endif
#ifdef FORGET_RECORD
    g_epoch = 0;
    g_members = 7;
    c_alive = 7;
#else
    g_epoch = d_epoch;
    g_members = d_members;
    g_decisions[0] = d_decisions[0];
    g_decisions[OPS - 1] = d_decisions[OPS - 1];
    c_alive = d_members;
#endif
}

inline recovered() {
    printf("coordinator: all are back or given up\n");
    c_up = RUNNING;
    c_seen = 0;
    change_if_wanted()
}

/* ------------------------------------------------------------------ processes */

#define link_lost(i, j) (life[i] == LIVE && !frozen(i) && HAS(members[i], j) && !HAS(suspects[i], j) && \
                         (HAS(cut[i], j) || life[j] != LIVE))

proctype Member(byte i) {
end:
    do
    :: d_step { moves(i) && !frozen(i) && called[i] < OPS && !open(i) -> call_op(i) }
    :: d_step { odds > 0 && moves(i) && !frozen(i) && called[i] < OPS && !open(i) ->
            odds--; odd[i] = odd[i] | BIT(called[i]); call_op(i) }
    :: d_step { moves(i) && state[i] == INCOMPLETE && all_entered(i) && !any_differs(i) -> state[i] = PARTIAL }
    :: d_step { moves(i) && (state[i] == INCOMPLETE || state[i] == PARTIAL) && all_entered(i) &&
                !any_differs(i) -> enter_barrier(i) }
    :: d_step { moves(i) && state[i] == COMPLETE && barrier_passed(i) -> return_success(i) }
    :: d_step { moves(i) && open(i) && any_differs(i) -> raise_mismatch(i) }
    :: d_step { life[i] == LIVE && nempty(peer[LINK((i + 1) % N, i)]) -> on_peer_frame(i, (i + 1) % N) }
    :: d_step { life[i] == LIVE && nempty(peer[LINK((i + 2) % N, i)]) -> on_peer_frame(i, (i + 2) % N) }
#ifndef NO_SUSPICION
    :: d_step { link_lost(i, (i + 1) % N) -> notice_loss(i, (i + 1) % N) }
    :: d_step { link_lost(i, (i + 2) % N) -> notice_loss(i, (i + 2) % N) }
#endif
    :: d_step { life[i] == LIVE && nempty(to_member[i]) -> on_coordinator_frame(i) }
    :: d_step { life[i] == LIVE && !HAS(connected, i) && c_up != DOWN -> register_again(i) }
    od
}

/* The coordinator sees a connection closing; with a report of a peer that is a death. */
#define closing(j) (HAS(c_alive & ~c_lost, j) && (!HAS(connected, j) || life[j] != LIVE) && \
                    (c_up == RUNNING || (c_up == RECOVERING && HAS(c_seen, j))))

inline on_closed(j) {
    printf("coordinator: the connection of %d closed\n", j);
    c_lost = c_lost | BIT(j);
    if
    :: HAS(c_closed, j) -> evict(j)
    :: else
    fi
}

/* A dead member that a change or the recovery waits for: sooner or later its time is over. */
#define overdue(j) (c_up != DOWN && HAS(c_alive, j) && life[j] != LIVE && \
                    (HAS(p_members & ~p_answered, j) || (c_up == RECOVERING && !HAS(c_seen, j))))
/* One that has not reported to a recovering coordinator, while a peer reports its lane closed. */
#define reported_dead(j) (c_up == RECOVERING && HAS(c_alive & c_closed & ~c_seen, j))
#define falsely(j) (suspicions > 0 && c_up != DOWN && HAS(c_alive, j) && life[j] == LIVE)

proctype Coordinator() {
end:
    do
    :: d_step { c_up != DOWN && nempty(to_coordinator[0]) -> on_member_frame(0) }
    :: d_step { c_up != DOWN && nempty(to_coordinator[1]) -> on_member_frame(1) }
    :: d_step { c_up != DOWN && nempty(to_coordinator[2]) -> on_member_frame(2) }
    :: d_step { closing(0) -> on_closed(0) }
    :: d_step { closing(1) -> on_closed(1) }
    :: d_step { closing(2) -> on_closed(2) }
    :: d_step { overdue(0) || reported_dead(0) -> evict(0) }
    :: d_step { overdue(1) || reported_dead(1) -> evict(1) }
    :: d_step { overdue(2) || reported_dead(2) -> evict(2) }
    :: d_step { p_epoch != 0 && p_answered == p_members -> build_install() }
#ifdef RECORD_AFTER_INSTALL
    :: d_step { installing && !sent -> sent = 1; send_installs() }
    :: d_step { installing && sent -> sent = 0; write_record(); installing = 0; change_if_wanted() }
#else
    :: d_step { installing -> persisted() }
#endif
    :: d_step { c_up == RECOVERING && (c_alive & ~c_seen) == 0 -> recovered() }
    od
}

inline cut_link(i, j) {
    printf("world: breaks the link %d %d\n", i, j);
    cuts--;
    cut[i] = cut[i] | BIT(j);
    cut[j] = cut[j] | BIT(i);
    do
    :: nempty(peer[LINK(i, j)]) -> peer[LINK(i, j)]?x, y
    :: empty(peer[LINK(i, j)]) && nempty(peer[LINK(j, i)]) -> peer[LINK(j, i)]?x, y
    :: empty(peer[LINK(i, j)]) && empty(peer[LINK(j, i)]) -> break
    od;
    x = 0; y = 0
}

#define can_cut(i, j) (cuts > 0 && life[i] == LIVE && life[j] == LIVE && !HAS(cut[i], j))
#define can_disconnect(i) (cuts > 0 && c_up != DOWN && life[i] == LIVE && HAS(connected, i))
#define faults_left (crashes + restarts + suspicions + cuts > 0)
#define served(i) (life[i] != LIVE || (called[i] == OPS && !open(i) && !frozen(i)))

/* Faults, for as long as there are any to come; at some moment they stop. */
proctype World() {
    do
    :: d_step { crashes > 0 && life[0] == LIVE -> crashes--; leave(0, DEAD) }
    :: d_step { crashes > 0 && life[1] == LIVE -> crashes--; leave(1, DEAD) }
    :: d_step { crashes > 0 && life[2] == LIVE -> crashes--; leave(2, DEAD) }
    :: d_step { can_cut(0, 1) -> cut_link(0, 1) }
    :: d_step { can_cut(0, 2) -> cut_link(0, 2) }
    :: d_step { can_cut(1, 2) -> cut_link(1, 2) }
    :: d_step { can_disconnect(0) -> cuts--; connected = connected & ~BIT(0) }
    :: d_step { can_disconnect(1) -> cuts--; connected = connected & ~BIT(1) }
    :: d_step { can_disconnect(2) -> cuts--; connected = connected & ~BIT(2) }
    :: d_step { falsely(0) -> suspicions--; evict(0) }
    :: d_step { falsely(1) -> suspicions--; evict(1) }
    :: d_step { falsely(2) -> suspicions--; evict(2) }
    :: d_step { restarts > 0 && c_up != DOWN -> restarts--; crash_coordinator() }
    :: d_step { c_up == DOWN -> restart_coordinator() }
    :: d_step { faults_left -> crashes = 0; restarts = 0; suspicions = 0; cuts = 0 }
    :: timeout -> break
    od;
    /* Nothing can happen any more: nobody waits. */
    assert(served(0) && served(1) && served(2) && c_up == RUNNING)
}

init {
    d_step {
        installed[0] = 1; installed[1] = 1; installed[2] = 1;
        promised[0] = 1; promised[1] = 1; promised[2] = 1;
        members[0] = 7; members[1] = 7; members[2] = 7
    }
    atomic {
        run Member(0);
        run Member(1);
        run Member(2);
        run Coordinator();
        run World()
    }
}
