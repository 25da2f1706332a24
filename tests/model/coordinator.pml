/* What the coordinator does, and what comes of it at a restart. Included by pccl.pml. */

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
    c_lost = c_lost & ~BIT(j);
    c_closed = c_closed & ~BIT(j);
    c_seen = c_seen & ~BIT(j);
    c_links = c_links & ~(BIT(PAIR(j, (j + 1) % N)) | BIT(PAIR(j, (j + 2) % N)));
    do
    :: nempty(to_coordinator[j]) -> to_coordinator[j]?_, _, _, _, _, _
    :: empty(to_coordinator[j]) -> break
    od;
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
        c_seen = (c_up == RECOVERING -> c_seen | BIT(i) : 0);
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
