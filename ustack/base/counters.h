/* SPDX-License-Identifier: BSD-3-Clause */
/* Every counter, once: from this table come the enum, the names and the help.
 * A frame that is dropped increments exactly one *.drop.* counter.          */
#pragma once

/* clang-format off */
#define COUNTERS(X) \
    X(ETH_IN,                 "eth.in",                   "frames received") \
    X(ETH_OUT,                "eth.out",                  "frames sent") \
    X(ETH_DROP_SHORT,         "eth.drop.short",           "frame shorter than an Ethernet header") \
    X(ETH_DROP_IFACE,         "eth.drop.iface",           "frame from an interface that the engine does not have") \
    X(ETH_DROP_MAC,           "eth.drop.mac",             "destination MAC is neither ours nor a group, or source is a group") \
    X(ETH_DROP_TYPE,          "eth.drop.type",            "EtherType is not one we speak") \
    X(FOREIGN_OUT,            "foreign.out",              "frames handed to the engine that owns their flow") \
    X(FOREIGN_ALL,            "foreign.all",              "frames that concern every engine, offered to the others") \
    X(FOREIGN_IN,             "foreign.in",               "frames that other engines have handed to this one") \
    X(FOREIGN_KEPT,           "foreign.kept",             "frames of another engine's flow taken, for the connection is here") \
    X(FOREIGN_ASKED,          "foreign.asked",            "frames that met nobody here, for the other engines in turn") \
    X(FOREIGN_DROP_ASKED,     "foreign.drop.asked",       "such frames dropped: over foreign.ask_limit") \
    X(FOREIGN_DROP_FULL,      "foreign.drop.full",        "frames for other engines dropped: too many waited to be fetched") \
    X(FOREIGN_DROP_NOMBUF,    "foreign.drop.nombuf",      "frames for other engines dropped: no mbuf for a copy") \
    X(LOOP_IN,                "loop.in",                  "frames to our own addresses taken in again") \
    X(LOOP_DROP_NOMBUF,       "loop.drop.nombuf",         "frame to our own address dropped: no mbuf") \
    X(ARP_IN_REQUEST,         "arp.in.request",           "ARP requests for one of our addresses") \
    X(ARP_IN_REPLY,           "arp.in.reply",             "ARP replies that answered a question of ours") \
    X(ARP_OUT_REQUEST,        "arp.out.request",          "ARP requests sent") \
    X(ARP_OUT_REPLY,          "arp.out.reply",            "ARP replies sent") \
    X(ARP_OUT_GRATUITOUS,     "arp.out.gratuitous",       "gratuitous ARP announcements sent") \
    X(ARP_DROP_MALFORMED,     "arp.drop.malformed",       "ARP too short, or wrong hardware, protocol, sizes or operation") \
    X(ARP_DROP_SENDER,        "arp.drop.sender",          "ARP sender is a group MAC, or its MAC or address is not a host's") \
    X(ARP_DROP_TARGET,        "arp.drop.target",          "ARP for an address that is not ours") \
    X(ARP_DROP_UNASKED,       "arp.drop.unasked",         "ARP reply to a question we did not ask") \
    X(ARP_CONFLICT,           "arp.conflict",             "another host claims one of our addresses (RFC 5227)") \
    X(NEIGH_EVICTED,            "neigh.evicted",              "neighbour entries reclaimed because the table was full") \
    X(NEIGH_FULL,               "neigh.full",                 "neighbour entry refused: the table is full of entries in use") \
    X(NEIGH_FAILED,             "neigh.failed",               "neighbours that never answered") \
    X(NEIGH_DROP_PENDING,     "neigh.drop.pending",       "packet dropped because its neighbour's pending queue was full") \
    X(NEIGH_DROP_FAILED,      "neigh.drop.failed",        "packet dropped because its neighbour did not answer") \
    X(IP_IN,                  "ip.in",                    "IP packets received") \
    X(IP_OUT,                 "ip.out",                   "IP packets sent") \
    X(IP_DROP_SHORT,          "ip.drop.short",            "packet shorter than an IPv4 header") \
    X(IP_DROP_VERSION,        "ip.drop.version",          "version field is not 4") \
    X(IP_DROP_IHL,            "ip.drop.ihl",              "header length below 5 words or past the packet") \
    X(IP_DROP_LENGTH,         "ip.drop.length",           "total length below the header's or past the frame") \
    X(IP_DROP_CHECKSUM,       "ip.drop.checksum",         "header checksum is wrong") \
    X(IP_DROP_MARTIAN,        "ip.drop.martian",          "source or destination address that must not appear on a wire") \
    X(IP_DROP_DST,            "ip.drop.dst",              "destination is not ours") \
    X(IP_DROP_OPTIONS,        "ip.drop.options",          "malformed or source-routing IP options") \
    X(IP_DROP_PROTO,          "ip.drop.proto",            "protocol that nobody here speaks") \
    X(IP_DROP_NOROUTE,        "ip.drop.noroute",          "outgoing packet without a route") \
    X(IP_DROP_NOMBUF,         "ip.drop.nombuf",           "reply not sent: no mbuf") \
    X(IP_OUT_FRAGMENTS,       "ip.out.fragments",         "fragments sent") \
    X(IP_DROP_TOOBIG,         "ip.drop.toobig",           "outgoing packet larger than the path and not to be fragmented") \
    X(IP6_DROP_SHORT,         "ip6.drop.short",           "packet shorter than an IPv6 header") \
    X(IP6_DROP_VERSION,       "ip6.drop.version",         "version field is not 6") \
    X(IP6_DROP_LENGTH,        "ip6.drop.length",          "payload length past the frame, or a jumbogram") \
    X(IP6_DROP_MARTIAN,       "ip6.drop.martian",         "address that must not appear on a wire") \
    X(IP6_DROP_DST,           "ip6.drop.dst",             "destination is not ours") \
    X(IP6_DROP_EXTHDR,        "ip6.drop.exthdr",          "malformed, misplaced or too many extension headers") \
    X(IP6_DROP_OPTION,        "ip6.drop.option",          "extension header option that demands the packet be dropped") \
    X(IP6_DROP_ROUTING,       "ip6.drop.routing",         "routing header with segments left (RFC 5095)") \
    X(IP6_DROP_PROTO,         "ip6.drop.proto",           "next header that nobody here speaks") \
    X(FRAG_IN,                "frag.in",                  "fragments received") \
    X(FRAG_OK,                "frag.ok",                  "datagrams put together") \
    X(FRAG_DUPLICATE,         "frag.duplicate",           "fragments ignored: exact duplicates") \
    X(FRAG_TIMEOUT,           "frag.timeout",             "datagrams given up: fragments missing") \
    X(FRAG_DROP_OVERLAP,      "frag.drop.overlap",        "datagrams dropped because fragments overlap (RFC 5722)") \
    X(FRAG_DROP_BAD,          "frag.drop.bad",            "fragments with impossible offset or length") \
    X(FRAG_DROP_TINY,         "frag.drop.tiny",           "first fragments without the whole headers (RFC 7112)") \
    X(FRAG_DROP_FULL,         "frag.drop.full",           "fragments refused: too many datagrams are waiting") \
    X(FRAG_DROP_SOURCE,       "frag.drop.source",         "fragments refused: too many datagrams of this source are waiting") \
    X(FRAG_DROP_NOMBUF,       "frag.drop.nombuf",         "fragments refused: no large mbuf") \
    X(ND_IN_NS,               "nd.in.ns",                 "neighbour solicitations for one of our addresses") \
    X(ND_IN_NA,               "nd.in.na",                 "neighbour advertisements that told us something") \
    X(ND_IN_RA,               "nd.in.ra",                 "router advertisements taken") \
    X(ND_OUT_NS,              "nd.out.ns",                "neighbour solicitations sent") \
    X(ND_OUT_NA,              "nd.out.na",                "neighbour advertisements sent") \
    X(ND_OUT_RS,              "nd.out.rs",                "router solicitations sent") \
    X(ND_DAD_FAILED,          "nd.dad.failed",            "addresses given up: somebody else has them") \
    X(ND_DROP_HOPLIMIT,       "nd.drop.hoplimit",         "ND message that has crossed a router") \
    X(ND_DROP_MALFORMED,      "nd.drop.malformed",        "ND message too short, or with a bad option or address") \
    X(ND_DROP_TARGET,         "nd.drop.target",           "ND message about an address that is not ours") \
    X(ND_DROP_UNASKED,        "nd.drop.unasked",          "neighbour advertisement about nobody we know") \
    X(ND_DROP_RA,             "nd.drop.ra",               "router advertisement not from a link-local address, or not accepted here") \
    X(ICMP_IN_ECHO,           "icmp.in.echo",             "echo requests") \
    X(ICMP_OUT_ECHO,          "icmp.out.echo",            "echo replies") \
    X(ICMP_IN_REPLY,          "icmp.in.reply",            "echo replies delivered to a socket") \
    X(ICMP_OUT_REQUEST,       "icmp.out.request",         "echo requests sent") \
    X(ICMP_IN_ERROR,          "icmp.in.error",            "ICMP errors received for a flow of ours") \
    X(ICMP_OUT_UNREACH,       "icmp.out.unreach",         "destination unreachable sent") \
    X(ICMP_RATELIMITED,       "icmp.ratelimited",         "ICMP messages not sent: over the rate limit") \
    X(ICMP_DROP_SHORT,        "icmp.drop.short",          "ICMP message too short") \
    X(ICMP_DROP_CHECKSUM,     "icmp.drop.checksum",       "ICMP checksum is wrong") \
    X(ICMP_DROP_TYPE,         "icmp.drop.type",           "ICMP type that we do not answer") \
    X(ICMP_DROP_GROUP,        "icmp.drop.group",          "echo request or reply to a group or broadcast address") \
    X(ICMP_DROP_REPLY,        "icmp.drop.reply",          "echo reply that no socket waits for") \
    X(ICMP_DROP_FULL,         "icmp.drop.full",           "echo reply dropped: the socket's receive buffer is full") \
    X(ICMP_DROP_NOMBUF,       "icmp.drop.nombuf",         "echo reply dropped: mbufs are nearly used up") \
    X(ICMP_DROP_QUOTE,        "icmp.drop.quote",          "ICMP error whose quoted packet matches no flow or lies outside its window") \
    X(ICMP_OUT_ERROR,         "icmp.out.error",           "ICMP errors other than unreachable sent") \
    X(PMTU_LOWERED,           "pmtu.lowered",             "path MTUs learnt or lowered") \
    X(PMTU_EXPIRED,           "pmtu.expired",             "path MTUs forgotten by age") \
    X(UDP_IN,                 "udp.in",                   "UDP datagrams delivered to a socket") \
    X(UDP_OUT,                "udp.out",                  "UDP datagrams sent") \
    X(UDP_DROP_CHECKSUM,      "udp.drop.checksum",        "UDP checksum is wrong, or absent over IPv6") \
    X(UDP_DROP_FULL,          "udp.drop.full",            "UDP datagram dropped: the socket's receive buffer is full") \
    X(UDP_DROP_NOMBUF,        "udp.drop.nombuf",          "UDP datagram dropped: mbufs are nearly used up") \
    X(UDP_DROP_SHARE,         "udp.drop.share",           "UDP datagram dropped: its socket holds more than its share of the buffers") \
    X(UDP_DROP_NOPORT,        "udp.drop.noport",          "UDP datagram to a port that nobody holds") \
    X(UDP_DROP_MALFORMED,     "udp.drop.malformed",       "UDP datagram too short, or its length is wrong") \
    X(TCP_IN,                 "tcp.in",                   "TCP segments received") \
    X(TCP_OUT,                "tcp.out",                  "TCP segments sent") \
    X(TCP_DROP_SHORT,         "tcp.drop.short",           "segment shorter than a TCP header") \
    X(TCP_DROP_OFFSET,        "tcp.drop.offset",          "data offset below 5 words or past the segment") \
    X(TCP_DROP_CHECKSUM,      "tcp.drop.checksum",        "TCP checksum is wrong") \
    X(TCP_DROP_GROUP,         "tcp.drop.group",           "segment to or from a group or broadcast address (MUST-57)") \
    X(TCP_DROP_NOTCB,         "tcp.drop.notcb",           "segment for no connection (answered by RST where allowed)") \
    X(TCP_DROP_LISTEN,        "tcp.drop.listen",          "segment that a listener does not take") \
    X(TCP_DROP_SYN_SENT,      "tcp.drop.syn_sent",        "segment that a connecting socket does not take") \
    X(TCP_DROP_DEFERRED,      "tcp.drop.deferred",        "handshake ACK that a listener with TCP_DEFER_ACCEPT does not count: it wants text") \
    X(TCP_DROP_REQUEST,       "tcp.drop.request",         "segment that a half-open connection does not take") \
    X(TCP_DROP_SEQ,           "tcp.drop.seq",             "segment outside the receive window") \
    X(TCP_DROP_PAWS,          "tcp.drop.paws",            "segment with an old timestamp (RFC 7323 5.3)") \
    X(TCP_DROP_RST,           "tcp.drop.rst",             "RST not exactly at RCV.NXT (RFC 5961 3.2)") \
    X(TCP_DROP_SYN,           "tcp.drop.syn",             "SYN on a synchronized connection (RFC 5961 4.2)") \
    X(TCP_DROP_NOACK,         "tcp.drop.noack",           "segment without ACK on a synchronized connection") \
    X(TCP_DROP_ACK,           "tcp.drop.ack",             "ACK of bytes never sent, or too old (RFC 5961 5.2)") \
    X(TCP_DROP_TIMEWAIT,      "tcp.drop.timewait",        "segment that a TIME-WAIT record does not take") \
    X(TCP_DROP_CLOSED_RCV,    "tcp.drop.closed_rcv",      "data that no application can read any more") \
    X(TCP_DROP_NOMBUF,        "tcp.drop.nombuf",          "data not queued: mbufs are nearly used up") \
    X(TCP_DROP_SHARE,         "tcp.drop.share",           "data not queued: its connection holds more than its share of the buffers") \
    X(TCP_DROP_OOO,           "tcp.drop.ooo",             "out-of-order data not queued: over the limit") \
    X(TCP_DROP_DUP,           "tcp.drop.dup",             "out-of-order data that was already held") \
    X(TCP_DROP_BACKLOG,       "tcp.drop.backlog",         "SYN dropped: the SYN queue is full and cookies are off or of no use") \
    X(TCP_DROP_ACCEPTQ,       "tcp.drop.acceptq",         "handshake ACK dropped: the accept queue is full") \
    X(TCP_DROP_NOTCBS,        "tcp.drop.notcbs",          "handshake ACK dropped: the TCB table is full") \
    X(TCP_OPENS_ACTIVE,       "tcp.opens.active",         "active opens") \
    X(TCP_OPENS_PASSIVE,      "tcp.opens.passive",        "passive opens that were established") \
    X(TCP_ESTABLISHED,        "tcp.established",          "connections that reached ESTABLISHED") \
    X(TCP_RESETS_IN,          "tcp.resets.in",            "connections reset by the peer") \
    X(TCP_RESETS_OUT,         "tcp.resets.out",           "RST segments sent") \
    X(TCP_TIMEOUTS,           "tcp.timeouts",             "connections given up for lack of an answer") \
    X(TCP_FASTOPEN_ASKED,     "tcp.fastopen.asked",       "SYNs that asked for a Fast Open cookie, and got one") \
    X(TCP_FASTOPEN_BAD,       "tcp.fastopen.bad",         "SYNs with a Fast Open cookie that does not open") \
    X(TCP_FASTOPEN_PASSIVE,   "tcp.fastopen.passive",     "connections that a SYN with a cookie opened") \
    X(TCP_FASTOPEN_ACTIVE,    "tcp.fastopen.active",      "SYNs of ours whose text was acknowledged") \
    X(TCP_FASTOPEN_FAILED,    "tcp.fastopen.failed",      "SYNs of ours whose text was not") \
    X(TCP_FASTOPEN_BLACKHOLE, "tcp.fastopen.blackhole",   "times that Fast Open was given up for a while") \
    X(TCP_SYN_IN,             "tcp.syn.in",               "SYNs that a listener took") \
    X(TCP_COOKIES_OUT,        "tcp.syncookies.out",       "SYN cookies sent: SYN-ACKs that left nothing behind") \
    X(TCP_COOKIES_IN,         "tcp.syncookies.in",        "connections opened by a SYN cookie") \
    X(TCP_COOKIES_BAD,        "tcp.syncookies.bad",       "ACKs to a listener that had sent cookies, which were none of its cookies") \
    X(TCP_SYN_REXMT,          "tcp.rexmt.syn",            "SYNs and SYN-ACKs sent again") \
    X(TCP_REXMT_RTO,          "tcp.rexmt.rto",            "retransmission timeouts") \
    X(TCP_REXMT_FAST,         "tcp.rexmt.fast",           "fast retransmits (entries into recovery)") \
    X(TCP_REXMT_PARTIAL,      "tcp.rexmt.partial",        "retransmissions on a partial ACK (RFC 6582)") \
    X(TCP_REXMT_SEGS,         "tcp.rexmt.segs",           "segments sent again, for whatever reason") \
    X(TCP_REXMT_LOST,         "tcp.rexmt.lost",           "retransmissions that were lost, too") \
    X(TCP_TLP_PROBES,         "tcp.tlp.probes",           "tail loss probes sent (RFC 8985 7)") \
    X(TCP_TLP_REPAIRS,        "tcp.tlp.repairs",          "losses that a tail loss probe has repaired") \
    X(TCP_UNDO_RECOVERY,      "tcp.undo.recovery",        "recoveries taken back: the text was only late") \
    X(TCP_UNDO_RTO,           "tcp.undo.rto",             "timeouts taken back") \
    X(TCP_UNDO_DSACK,         "tcp.undo.dsack",           "recoveries taken back: every retransmission was a duplicate (RFC 2883)") \
    X(TCP_SPURIOUS_RTO,       "tcp.rto.spurious",         "timeouts that F-RTO found to be spurious (RFC 5682)") \
    X(TCP_REORDERED,          "tcp.reordered",            "times that text was seen to arrive out of order") \
    X(TCP_SACKS_IN,           "tcp.sack.in",              "ACKs with SACK blocks") \
    X(TCP_SACK_BAD,           "tcp.sack.bad",             "SACK blocks that cover what was never sent, or nothing") \
    X(TCP_SACK_RENEGED,       "tcp.sack.reneged",         "times that a peer dropped what it had sacked (RFC 2018 8)") \
    X(TCP_DSACKS_IN,          "tcp.dsack.in",             "duplicates that peers have reported (RFC 2883)") \
    X(TCP_EXTRA_NONE,         "tcp.extra.none",           "times that an option, ECN or a count had to do without: tcp.max_extras connections had some") \
    X(TCP_FLIGHT_NONE,        "tcp.flight.none",          "times that text had to wait: tcp.max_flights connections had some in flight") \
    X(TCP_SENT_MERGED,        "tcp.sent.merged",          "transmissions without a record of their own: there were too many") \
    X(TCP_SENT_UNCUT,         "tcp.sent.uncut",           "SACK blocks not taken: too many records") \
    X(TCP_PROBES,             "tcp.probes",               "zero-window probes sent") \
    X(TCP_KEEPALIVES,         "tcp.keepalives",           "keep-alive probes sent") \
    X(TCP_DELACKS,            "tcp.delacks",              "ACKs sent by the delayed-ACK timer") \
    X(TCP_CHALLENGE,          "tcp.challenge",            "challenge ACKs sent (RFC 5961)") \
    X(TCP_CHALLENGE_LIMITED,  "tcp.challenge.limited",    "challenge ACKs not sent: over the connection's limit") \
    X(TCP_ACK_OOW,            "tcp.ack.oow",              "ACKs sent for segments outside the window") \
    X(TCP_ACK_OOW_LIMITED,    "tcp.ack.oow.limited",      "such ACKs not sent: one in 500 ms is enough") \
    X(TCP_CC_STATE_TAKEN,     "tcp.cc.state_taken",       "congestion control states taken from an idle connection: all were in use") \
    X(TCP_CC_STATE_NONE,      "tcp.cc.state_none",        "times a connection had to use reno: no congestion control state was to be had") \
    X(TCP_DUPACKS_IN,         "tcp.dupacks.in",           "duplicate ACKs received") \
    X(TCP_DUPACKS_OUT,        "tcp.dupacks.out",          "duplicate ACKs sent for out-of-order data") \
    X(TCP_OOO_IN,             "tcp.ooo.in",               "out-of-order segments queued") \
    X(TCP_OOO_PRUNED,         "tcp.ooo.pruned",           "out-of-order segments thrown away again, to make room for nearer ones") \
    X(TCP_TIMEWAIT_EVICTED,   "tcp.timewait.evicted",     "TIME-WAIT records dropped early: the table was full") \
    X(TCP_TIMEWAIT_REUSED,    "tcp.timewait.reused",      "TIME-WAIT records reopened by a peer's new SYN (RFC 6191)") \
    X(TCP_TIMEWAIT_TAKEN,     "tcp.timewait.taken",       "TIME-WAIT records taken over by an active open (tcp.tw_reuse)") \
    X(TCP_TIMEWAIT_KILLED,    "tcp.timewait.killed",      "TIME-WAIT records ended by a RST (tcp.rfc1337 is 0)") \
    X(TCP_ORPHANS_ENDED,      "tcp.orphans.ended",        "closed connections given up early: there were more than tcp.max_orphans") \
    X(TCP_OUT_NOMBUF,         "tcp.out.nombuf",           "segments put off: no mbuf") \
    X(SOCK_NOMBUF,            "sock.nombuf",              "bytes refused by send: no mbuf")  \
    X(SOCK_SHARE,             "sock.share",               "times that send took less: the connection holds its share of the buffers") \
    X(SOCK_NOTCB,             "sock.notcb",               "sockets refused: the TCB table is full")
/* clang-format on */

enum counter {
#define X(id, name, help) C_##id,
    COUNTERS(X)
#undef X
        N_COUNTERS
};
