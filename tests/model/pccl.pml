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
#define CUTS 0         /* links between two members that may break */
#endif
#ifndef DISCONNECTS
#define DISCONNECTS 0  /* connections to the coordinator that may break */
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
byte disconnects = DISCONNECTS;
byte odds = ODD;

/* ---- ghosts ---- */
byte gone;                     /* left out of an epoch that is in the record */

/* Scratch, 0 or meaningless between steps. */
hidden byte a, b, c, d, e, f, h;
hidden byte x, y, z, u, v, w;
hidden byte all_called, same_attempt, all_complete, any_complete, any_error, differ, half0, half1, over;

#include "member.pml"
#include "coordinator.pml"

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

inline lose_connection(i) {
    printf("world: member %d loses its connection to the coordinator\n", i);
    disconnects--;
    connected = connected & ~BIT(i)
}

#define can_cut(i, j) (cuts > 0 && life[i] == LIVE && life[j] == LIVE && !HAS(cut[i], j))
#define can_disconnect(i) (disconnects > 0 && c_up != DOWN && life[i] == LIVE && HAS(connected, i))
#define faults_left (crashes + restarts + suspicions + cuts + disconnects > 0)
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
    :: d_step { can_disconnect(0) -> lose_connection(0) }
    :: d_step { can_disconnect(1) -> lose_connection(1) }
    :: d_step { can_disconnect(2) -> lose_connection(2) }
    :: d_step { falsely(0) -> suspicions--; evict(0) }
    :: d_step { falsely(1) -> suspicions--; evict(1) }
    :: d_step { falsely(2) -> suspicions--; evict(2) }
    :: d_step { restarts > 0 && c_up != DOWN -> restarts--; crash_coordinator() }
    :: d_step { c_up == DOWN -> restart_coordinator() }
    :: d_step { faults_left -> crashes = 0; restarts = 0; suspicions = 0; cuts = 0; disconnects = 0 }
    :: timeout -> break
    od;
    printf("world: nothing can happen any more\n");
    /* Nobody waits. */
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
