/*
 * The port numbers of PCCL 1.0, offered so that sources written for it compile unchanged. The coordinator
 * listens on CCOIP_PROTOCOL_PORT_MASTER by convention. A peer listens on one port only, the first free one
 * from 48149 upward unless told otherwise, so the other three name no separate service here.
 */
#ifndef CCOIP_H
#define CCOIP_H

#define CCOIP_PROTOCOL_PORT_MASTER 48148
#define CCOIP_PROTOCOL_PORT_SHARED_STATE 48149
#define CCOIP_PROTOCOL_PORT_P2P 48150
#define CCOIP_PROTOCOL_PORT_BANDWIDTH_BENCHMARK 48151

#endif
