/* What a member does, one inline per event of the core. Included by pccl.pml, which says how to read it. */

/* ------------------------------------------------------------------ outcomes */

/* A success binds all, also that of a member that is dead or evicted; an error there binds nobody. */
#define binds(i, value) ((value) != FAILED || (life[i] == LIVE && !HAS(gone, i)))
#define agrees(j, k, value) (outcome[OP(j, k)] == 0 || outcome[OP(j, k)] == (value) || \
                             !binds(j, outcome[OP(j, k)]))

/* Nobody got anything else; contributors have called. */
inline set_outcome(i, k, value) {
    assert(outcome[OP(i, k)] == 0);
    outcome[OP(i, k)] = value;
    assert(!binds(i, value) || (agrees(0, k, value) && agrees(1, k, value) && agrees(2, k, value)));
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
#ifndef FORGET_FETCHED
        /* No Install has told the others of a mismatch. */
        recorded[i] = recorded[i] | (faulty[i] & BIT(called[i] - 1));
#endif
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
    connected = connected & ~BIT(i);
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
        if
#ifndef DROP_EARLY
        /* Said again: others may have installed it already, what they sent is kept. */
        :: b == promised[i] -> skip
#endif
        :: else ->
            promised[i] = b;
            early[OP(i, 0)] = 0;
            early[OP(i, OPS - 1)] = 0
        fi;
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
