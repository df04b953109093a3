"""A running node: opens the house, wires the parts, runs them until it is told to stop, closes it.

Nothing is decided here. Every socket is bound before the first task starts, so that a taken port is one
sentence and no half-started node. SIGINT and SIGTERM end it within three seconds: requests in flight are
let out, builds are killed with their whole tree, the database is closed.
"""

import gc
import logging
import signal
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import trio

from pyrsia import config, keys
from pyrsia.consensus.application import InvalidBlock
from pyrsia.consensus.epochs import Epochs
from pyrsia.consensus.timing import Timing
from pyrsia.errors import DatabaseDamaged, PyrsiaError, Refusal, first_cause
from pyrsia.ledger import views
from pyrsia.ledger.chain import Chain
from pyrsia.ledger.sharing import Sharing
from pyrsia.mesh.liveness import State
from pyrsia.mesh.scores import FAULT, Scores
from pyrsia.net.data import DataPlane, Served
from pyrsia.node import descriptors, diary
from pyrsia.node.admin import Admin
from pyrsia.node.builds import sources
from pyrsia.node.builds.describing import Describer
from pyrsia.node.builds.explaining import Explaining
from pyrsia.node.builds.parts import BuildParts, make_parts
from pyrsia.node.builds.receipts import Receipts
from pyrsia.node.builds.vouching import Vouching
from pyrsia.node.builds.workshop import PluginFactory, Workshop, honest, open_workshop
from pyrsia.node.consensus.accusing import Accusing
from pyrsia.node.consensus.agreement import Agreement, Hands
from pyrsia.node.consensus.standing import Standing
from pyrsia.node.house import BLOBS, KEYS, SCRATCH, House
from pyrsia.node.inspecting.past import Pasts
from pyrsia.node.kinds import Kind, Method, nothing
from pyrsia.node.knowledge.auditing import Auditing
from pyrsia.node.knowledge.desk import KnowledgeDesk
from pyrsia.node.knowledge.documents import Documents
from pyrsia.node.knowledge.knowing import Knowledge
from pyrsia.node.knowledge.saying import Saying
from pyrsia.node.knowledge.telling import Telling
from pyrsia.node.knowledge.underway import Underway
from pyrsia.node.knowledge.webhook_settings import read_webhooks
from pyrsia.node.knowledge.webhooks import Webhooks
from pyrsia.node.knowledge.words import Words
from pyrsia.node.log.acknowledging import Acknowledgements, Believer
from pyrsia.node.log.batch import Batches
from pyrsia.node.log.delivery import Delivery, write_first_block
from pyrsia.node.log.handing import Desk, Handing
from pyrsia.node.log.proofs import Proofs
from pyrsia.node.log.sharing import Sharer
from pyrsia.node.log.submission import Reception, Submitter, Waiters, write_refusal
from pyrsia.node.members.governing import Governing
from pyrsia.node.members.guests import Guests
from pyrsia.node.members.membership import Membership
from pyrsia.node.mesh.alone import alone
from pyrsia.node.mesh.desk import make_desk
from pyrsia.node.mesh.keeping import Keeping, make_keeping
from pyrsia.node.mesh.linking import listen, make_discovering, make_links
from pyrsia.node.mesh.making import Making
from pyrsia.node.mesh.parts import Mesh, Part
from pyrsia.node.mesh.peering import make_peering, make_swimming
from pyrsia.node.mesh.receipting import Receipting
from pyrsia.node.mesh.refusing import Refusing
from pyrsia.node.opening import DATABASE
from pyrsia.node.packages.catalog import Catalog
from pyrsia.node.packages.downloads import Downloads
from pyrsia.node.packages.providing import Provider
from pyrsia.node.packages.supply import make_local, make_supply, make_upstream
from pyrsia.node.policy.judging import Judge
from pyrsia.node.policy.policing import POLICY_NAME, Policing
from pyrsia.node.ports import patiently
from pyrsia.node.pulse import Pulse
from pyrsia.node.storage.desk import StorageDesk
from pyrsia.node.storage.recipes import Recipes
from pyrsia.node.storage.shelf import Shelf
from pyrsia.node.storage.storing import Storing, bring_from, holders
from pyrsia.node.sync.backfill import Backfill
from pyrsia.node.sync.points import Points
from pyrsia.node.sync.snapshots import Peers, Snapshots
from pyrsia.node.tokens import Tokens
from pyrsia.node.witness.cosigning import Cosigning
from pyrsia.node.witness.outside import open_outside
from pyrsia.node.witness.witnesses import Witnesses
from pyrsia.node.witness.witnessing import open_witnessing
from pyrsia.node.worker import WorkerSettings
from pyrsia.node.workers import SOCKET, Workers
from pyrsia.serve.app import build_app, limits
from pyrsia.serve.guard import Guard
from pyrsia.serve.http.server import Listener, Server, listen_tcp, listen_unix, write_token
from pyrsia.serve.http.tls import configured
from pyrsia.store.rocks import suspect
from pyrsia.transfer.buckets import flow_of
from pyrsia.units import NodeId
from pyrsia.wire.text import b32

ASK_S: Final = 5.0  # a peer answers from memory
DRAIN_S: Final = 1.0  # answers in flight; with the kill of a build tree (1 s) a stop stays below 3 s

_log = logging.getLogger("pyrsia.node")


def main(data: Path, plugin: PluginFactory = honest) -> int:
    """Run the node of `data` until SIGINT or SIGTERM; its exit code.

    Raises:
        Refusal: it cannot start, or cannot go on.
    """
    settings = config.load(data)
    diary.start(settings.log)
    descriptors.enough()
    try:
        while trio.run(_run, data, settings, plugin):
            _log.info("starting anew, from the state that was staged")
    except BaseExceptionGroup as group:  # of the nursery: the first cause is what a person is told
        cause = first_cause(group)
        if isinstance(cause, DatabaseDamaged):
            suspect(
                data / DATABASE, cause.what
            )  # what the ledger alone can tell too: a page that is not there
        if isinstance(cause, PyrsiaError):
            raise cause from None
        raise
    return 0


async def _run(data: Path, settings: config.Config, plugin: PluginFactory) -> bool:
    """One life of the node; whether it is to begin another."""
    with ExitStack() as closing:
        house = House.open(data, settings)
        closing.callback(house.close)
        async with AsyncExitStack() as stack:
            workshop = await open_workshop(house, stack, plugin)
            node = Node(house, workshop)
            closing.callback(node.links.close)
            await listen(node.links, settings.net)
            tls = configured(data, settings.http.tls_cert, settings.http.tls_key)
            host, port, shared = settings.http.host, settings.http.port, settings.http.workers > 0
            if shared:  # whoever else shares it must be one of ours: another node there is a taken port
                (await patiently(partial(listen_tcp, host, port), [port])).sock.close()
            listeners = [
                await patiently(partial(listen_tcp, host, port, tls=tls, shared=shared), [port]),
                await listen_unix(data / config.CONTROL_SOCKET),
            ]
            if shared:
                listeners.append(await listen_unix(data / SOCKET, folder=data))
            return await node.run(listeners, write_token(data / config.CONTROL_TOKEN))
    return False


class Node:
    """The parts of one node, wired."""

    def __init__(self, house: House, workshop: Workshop) -> None:
        self.house = house
        self.shop = workshop.shop
        self.started_s = trio.current_time()
        self.pulse = Pulse()
        self.waiters = Waiters()
        self.points = Points(house.archive, house.database)
        self.vouching = Vouching(
            node_id=house.keys.node_id,
            network=house.genesis.net,
            reads=house.archive.state,
            database=house.database,
            attests=house.build_key,
            ask=lambda *question: self.links.request(*question),
            verify=keys.verify,
            pulse=self.pulse,
        )
        self.links = make_links(
            house,
            on_message=self._on_message,
            on_link=self._on_link,
            methods={
                Method.SUBMIT: self._on_submit,
                Method.SUBMIT_MANY: lambda node, payload: self.many.answer(node, payload),
                Method.PING: _on_ping,
                Method.DOCUMENT: self._on_document,
                **self.points.methods,
                **self.vouching.methods,
            },
            blame=self._on_fault,
        )
        self.standing = Standing(
            house, house.notices + workshop.notices, linked=self._linked, ban=self.links.ban
        )
        self.scores = Scores()
        self.links.on_refused = Refusing(
            self.scores, house.called, lambda node: views.is_member(house.archive.state, node)
        ).on_refused
        self.guests = Guests.of(house.archive, self.links.fault)
        self._wire_log()
        self._wire_agreement()
        self._wire_submission()
        self._wire_builds(workshop)
        self.knowledge = Knowledge(house.archive)
        self.policing = Policing(
            house.data / POLICY_NAME,
            house.archive.state,
            head_s=lambda: self.cosigning.cosigned[1],
            known=self.knowledge.known,
            seen=self.knowledge.seen,
            learned=self.knowledge.revision,
        )
        self.catalog = Catalog(
            house.archive,
            self.shelf,
            self.proofs,
            self.vouching.bundle,
            self.building.auto.missed,
            self.policing,
        )
        self.downloads = Downloads(
            house.database, named=lambda sha256: bool(views.name_of(house.archive.state, sha256))
        )
        self.tokens = Tokens(house.database)
        self.local = make_local(house)
        if self.local.said:
            self.standing.notices.append(self.local.said)
        self.upstream = make_upstream(house, self.local, self.policing)
        if self.upstream.said:
            self.standing.notices.append(self.upstream.said)
        self.supply = make_supply(self.catalog, self.local, self.upstream)
        self.keeping = self._keeping()
        self.storing, self.storage = self._storage()
        self.server: Server | None = None
        self.discovering = make_discovering(house, self.links, self.scores)
        self.swimming = make_swimming(house, self.links, self.scores, self.discovering, self.plane)
        self.mesh = self._wire_mesh()
        self.admin = self._admin(workshop.isolation)

    # -- making the parts --

    def _wire_log(self) -> None:
        """The ledger, and what makes the log and its files known: cosignatures, witnesses, proofs, bytes."""
        house, genesis, archive = self.house, self.house.genesis, self.house.archive
        # The state's reader reads what was written last, so the chain may be made before block 0 is.
        self.chain = Chain(
            genesis,
            archive.state,
            verify=keys.verify,
            fetch=archive.index,
            head=archive.head,
            invalid=InvalidBlock,
        )
        write_first_block(self.chain, archive)
        net = house.settings.net
        self.plane = DataPlane(
            self.links, self._offered,
            up=flow_of(net.up_mb_s, net.peer_percent), down=flow_of(net.down_mb_s, net.peer_percent),
            blame=self._blame,
        )  # fmt: skip
        self.shelf = Shelf(house.database, house.blobs, self.plane, named=archive.names)
        self.shelf.on_gone(self.plane.forget)
        self.outside = open_outside(
            house.settings.witness,
            origin=genesis.origin,
            archive=archive,
            database=house.database,
            notices=self.standing.notices,
        )
        witnessing = open_witnessing(
            house.data / KEYS,
            house.settings.witness,
            house.database,
            clock=time.time,
            notices=self.standing.notices,
        )
        self.cosigning = Cosigning(
            house.keys.node_id,
            genesis,
            signer=house.tree_signer,
            database=house.database,
            archive=archive,
            send=self.links.send,
            audience=self._linked,
            decorated=self.outside.decorated,
            fault=self.links.fault,
            blame=self._blame,
        )
        self.witnesses = Witnesses(
            witnessing, self.outside, origin=genesis.origin, conflicts=self.cosigning.evidence
        )
        self.proofs = Proofs(archive)

    def _wire_agreement(self) -> None:
        """Agreement, what it hands its blocks to, and how a node that is behind comes to it."""
        house, archive = self.house, self.house.archive
        self.delivery = Delivery(
            self.chain,
            archive=archive,
            database=house.database,
            votes=house.votes,
            cosigning=self.cosigning,
            waiters=self.waiters,
            pulse=self.pulse,
            synced=self.standing.synced,
        )
        self.epochs = self._epochs()
        self.agreement = Agreement(self.epochs, self._hands())
        peers = Peers(
            self._linked,
            self.links.request,
            self.links.fault,
            member=lambda node: views.is_member(archive.state, node),
        )
        self.snapshots = Snapshots(
            house.genesis,
            archive,
            house.database,
            peers,
            verify=keys.verify,
            alarm=self.standing.halt,
            hold=self.agreement.hold,
            patient=house.role != "validator",
        )
        self.backfill = Backfill(archive, house.database, peers)

    def _wire_submission(self) -> None:
        """The ways of an entry into the log, and of its acknowledgement back; who speaks by them."""
        house, archive = self.house, self.house.archive
        self.sharer = Sharer(
            Sharing(self.chain.mempool, archive.state, node=house.keys.node_id, validators=self._validators),
            send=self.links.send,
            work=self.agreement.work,
        )
        self.acknowledgements = Acknowledgements(
            archive, covered=lambda: self.cosigning.cosigned[0], of_leaf=self.proofs.of_leaf
        )
        self.reception = Reception(
            orders=self._orders,
            offer=self.sharer.offer,
            leaf_of=self.delivery.leaf_of,
            acknowledge=self.acknowledgements.of,
        )
        self.many = Desk(
            orders=self._orders,
            offer=self.sharer.offer,
            leaf_of=self.delivery.leaf_of,
            may=self.guests.may_submit,
        )
        self.submitter = Submitter(
            house.keys,
            house.genesis,
            request=self.links.request,
            validators=self._validators,
            leaf_of=self.delivery.leaf_of,
            waiters=self.waiters,
            local=self._take,
            written=house.archive.leaf_of,
            admitted=lambda: self.house.record is not None,
            believe=Believer(house.genesis, archive.state, keys.verify),
            made=self.chain.mempool.parse.know,
        )
        self.accusing = Accusing(
            reads=archive.state,
            submit=self.submitter.submit,
            name_of=self.standing.name_of,
            notice=self.standing.once,
        )
        self.membership = Membership(house, self.links.connected)
        self.pasts = Pasts(archive)
        self.governing = Governing(
            house,
            self.submitter,
            self.membership,
            pulse=self.pulse,
            ask=lambda node: self.links.request(node, Method.DOCUMENT, b"", ASK_S),
        )

    def _epochs(self) -> Epochs:
        house, timing = self.house, self.house.settings.timing
        return Epochs(
            self.chain,
            house.genesis.chain_id,
            house.genesis.origin,
            node=house.keys.node_id,
            sign=house.signer,
            verify=keys.verify,
            reveal=self.standing.reveal,
            timing=Timing(delay_s=timing.delta_ms / 1000, heartbeat_s=timing.heartbeat_ms / 1000),
            recovered=house.recovered(),
        )

    def _hands(self) -> Hands:
        return Hands(
            send=self.links.send,
            linked=self._linked,
            persist=self.house.persist,
            deliver=self.delivery.deliver,
            serve=self.delivery.serve,
            blame=lambda effect: self.accusing.blame(effect),
            fault=self.links.fault,
            halt=self.standing.halt,
            mute=lambda reason, lost: self.standing.mute(reason, self.epochs.committee if lost else None),
            queued=self.links.queued,
            guest=self.links.guest,
        )

    def _wire_builds(self, workshop: Workshop) -> None:
        """What asks for builds and what builds; who explains them."""
        workshop.courier.fetch_published = lambda sha256: self.catalog.published(sha256)
        self.explaining = Explaining(reads=self.house.archive.state, shelf=self.shelf, shop=workshop.shop)
        self.receipting = self._receipting()
        self.building: BuildParts = make_parts(
            self.house,
            workshop,
            shelf=self.shelf,
            submitter=self.submitter,
            pulse=self.pulse,
            linked=self._linked,
            receipts=Receipts(
                self.receipting.node,
                self.house.genesis,
                reads=self.house.archive.state,
                shelf=self.shelf,
                ask=self._ask_for_receipt,
                verify=keys.verify,
                scores=self.scores,
            ),
            elsewhere=lambda blobs: self.keeping.replicating.kept_elsewhere(blobs),
        )

    def _receipting(self) -> Receipting:
        house = self.house
        return Receipting(
            house.keys.node,
            house.genesis,
            reads=house.archive.state,
            shelf=self.shelf,
            blobs=house.blobs,
            sync=house.database.sync,
            pulse=self.pulse,
            scores=self.scores,
        )

    async def _ask_for_receipt(self, node: NodeId, ask: bytes, patience_s: float) -> bytes:
        if node == self.receipting.node:
            return await self.receipting.answer(node, ask)
        return await self.links.request(node, Method.RECEIPT, ask, patience_s)

    def _wire_mesh(self) -> Mesh:
        """What the links carry beside agreement: each part is made here, and named once."""
        parts: list[Part] = [self.receipting, self.storing]
        parts += [self.discovering, self.swimming]
        self.messages = make_desk(
            self.house,
            self.links,
            self.scores,
            validators=self._validators,
            discovering=self.discovering,
        )
        parts.extend(self.messages.parts)
        parts.extend(self.keeping.parts)
        parts.append(self._making())
        mesh = Mesh(parts)
        self.links.answer(mesh.methods)
        return mesh

    def _making(self) -> Making:
        """What makes new versions of packages from old ones."""
        house = self.house
        return Making(
            Recipes(house.database, self.shop), self.shelf, self.plane, house.archive.state,
            mode=house.settings.net.delta, blame=self._blame, doubt=self.storing.doubt,
        )  # fmt: skip

    def _keeping(self) -> Keeping:
        """Which blobs it keeps as a storage member, and where it finds others."""
        keeping = make_keeping(
            archive=self.house.archive,
            database=self.house.database,
            blobs=self.house.blobs,
            shelf=self.shelf,
            plane=self.plane,
            links=self.links,
            pulse=self.pulse,
            scores=self.scores,
            settings=self.house.settings.storage,
            dead_s=lambda node: self.swimming.dead_since(node, trio.current_time()),
            strange=lambda node: self.swimming.state(node) is State.UNKNOWN,
        )
        self.receipting.leaving = lambda: keeping.replicating.leaving
        self.catalog.sources = keeping.providing.sources
        self.shelf.bringing.find = keeping.providing.find
        return keeping

    def _storage(self) -> tuple[Storing, StorageDesk]:
        """What keeps this node's disk in order, and what its operator sees of it."""
        house, arrivals, reads = self.house, self.catalog.arrivals, self.house.archive.state
        storing = Storing(
            house.data / BLOBS,
            house.database,
            house.blobs,
            house.settings.storage,
            reads=reads,
            named=house.archive.names,
            bring=lambda blob: bring_from(
                arrivals,
                blob,
                self.keeping.providing.sources(blob.sha256, holders(reads, blob.sha256, self._linked())),
            ),
        )

        self.plane.doubted_by(storing.doubt)
        storing.partials = self.shelf.bringing.partials
        self.catalog.met = storing.met

        def copies() -> tuple[int, int]:
            said = self.upstream.status()
            return said.kept_bytes, said.quota_bytes

        return storing, StorageDesk(
            storing,
            local=self.local.share,
            proxied=copies,
            copies=lambda: self.keeping.status(),
        )

    def _knowledge(self, batches: Batches) -> KnowledgeDesk:
        """Where facts are read, audited and said."""
        house, archive = self.house, self.house.archive
        telling = Telling(archive, house.genesis, self.pulse, members=self.membership.past)
        words = Words(archive, house.database, b32(house.keys.node_id))
        saying = Saying(
            words,
            author=self.submitter.author,
            submit=batches.submit,
            member=lambda: house.record,
            holds=self.shelf.holds,
            underway=Underway(house.database, archive.leaf_of),
        )
        auditing = Auditing(archive, self.knowledge, telling, self.policing, self.supply, self.pasts)
        catalog = self.catalog
        documents = Documents(
            archive,
            catalog.arrivals,
            lambda blob, holders: catalog.sources(blob, holders),
            lambda sha256: views.name_of(archive.state, sha256),
            self.shelf.local,
        )
        given = sources.Sources(self.shelf, house.data / SCRATCH, list)
        self.webhooks = Webhooks(
            read_webhooks(house.settings.knowledge.webhooks, house.data),
            telling,
            network=house.genesis.name,
            size=lambda: archive.size,
            database=house.database,
            pulse=self.pulse,
        )
        return KnowledgeDesk(telling, auditing, saying, documents, given, self.webhooks)

    def _describer(self) -> Describer:
        return Describer(
            self.house.keys.node_id,
            reads=self.house.archive.state,
            local=self.shelf.local,
            say=self.admin.knowledge.say,
            put=partial(self.shelf.put, pin=sources.PIN),
            pulse=self.pulse,
        )

    def _admin(self, isolation: str) -> Admin:
        batches = Batches(
            take=self._take,
            orders=self._orders,
            waiters=self.waiters,
            leaf_of=self.delivery.leaf_of,
            one_by_one=partial(self.submitter.submit_entry, patient=False),
            hand=Handing(
                node=self.house.keys.node_id, request=self.links.request, validators=self._validators
            ).see,
            known=self.chain.mempool.parse.known,
        )
        knowledge = self._knowledge(batches)
        return Admin(
            genesis=self.house.genesis,
            config=self.house.settings,
            node_id=self.house.keys.node_id,
            role=lambda: self.house.role,
            isolation=isolation,
            archive=self.house.archive,
            cosigning=self.cosigning,
            links=self.links,
            peer_rows=make_peering(
                self.house,
                self.links,
                self.scores,
                self.swimming,
                self.discovering,
                self.keeping.replicating.leaves,
            ).rows,
            catalog=self.catalog,
            explaining=self.explaining,
            proofs=self.proofs,
            shelf=self.shelf,
            submitter=self.submitter,
            membership=self.membership,
            governing=self.governing,
            batches=batches,
            acknowledge=self.acknowledgements.of,
            acknowledge_all=self.acknowledgements.many,
            requests=self.building.requests,
            builder=self.building.builder,
            desk=self.building.desk,
            upstream=self.upstream.status,
            pushed=self.local.owns,
            provider=Provider(
                self.house.archive,
                knowledge,
                self.downloads,
                pushed=self.local.owns,
                pasts=self.pasts,
                members=self.membership.past,
            ),
            pasts=self.pasts,
            knowledge=knowledge,
            judge=Judge(self.policing, self.house.archive.state, self.supply, log=self.house.archive),
            tokens=self.tokens,
            messages=self.messages,
            storage=self.storage,
            copies=self.keeping,
            disk=self.storing.glance,
            http=lambda: self.server.url if self.server else "",
            agreement=lambda: self.standing.status(self.epochs, self.agreement.counted),
            progress=lambda: tuple(
                filter(None, (self.snapshots.said, self.house.archive.behind, *self._notices()))
            ),
            notices=self.standing.notices,
            stopped=self.standing.stopped,
            started_s=self.started_s,
            given=self.discovering.given,
        )

    def _notices(self) -> Sequence[str]:
        return (
            self.policing.notice,
            self.storing.notice,
            *self.membership.notices(),
            *self.webhooks.notices(),
            alone(self._linked, self._others, lambda: trio.current_time() - self.started_s),
            self.keeping.status().notice(),
        )

    # -- life --

    async def run(self, listeners: list[Listener], token: str) -> bool:
        """Run every part until a signal comes, one of them fails, or another state is staged: True then."""
        http = self.house.settings.http
        guard = Guard(
            names=(*http.names, http.host),
            control_token=token,
            public=http.public,
            tokens=self.tokens.grant,
        )
        app = build_app(
            guard=guard,
            supply=self.supply,
            log_view=self.house.archive,
            admin=self.admin,
            witnessing=self.witnesses,
            served=self.downloads.given,
        )
        self.server = Server(app, listeners, limits(self.house.settings.local.upload_gb << 30))
        workers = self._workers(listeners[0], self.server)
        async with trio.open_nursery() as nursery:
            await nursery.start(self.links.run)
            await nursery.start(self.plane.run)
            await nursery.start(self.catalog.arrivals.run)
            await nursery.start(self.agreement.run)
            nursery.start_soon(self.mesh.run)
            nursery.start_soon(self.snapshots.run)
            nursery.start_soon(self.backfill.run)
            nursery.start_soon(self.sharer.run)
            nursery.start_soon(self.delivery.run)
            nursery.start_soon(self.accusing.run)
            nursery.start_soon(self.cosigning.run)
            nursery.start_soon(self.outside.run)
            nursery.start_soon(self.vouching.run)
            nursery.start_soon(self.building.run)
            if self.house.settings.builds.describe:
                nursery.start_soon(self._describer().run)
            nursery.start_soon(self.policing.run)
            nursery.start_soon(self.knowledge.run)
            nursery.start_soon(self.webhooks.run)
            nursery.start_soon(self.local.run)
            nursery.start_soon(self.downloads.run)
            await nursery.start(self.upstream.run)
            await nursery.start(self.server.run)
            nursery.start_soon(workers.run)
            _log.info(
                "%s %s of %s serves %s", self.house.roles_in_words, self.house.name,
                self.house.genesis.name, self.server.url,
            )  # fmt: skip
            for notice in self.standing.notices:
                _log.warning("%s", notice)
            gc.collect()
            gc.freeze()  # what a node consists of stays: to look through it for garbage stops all for 25 ms
            again = await self._until_told()
            await self.swimming.leave()
            workers.drain()
            self.server.drain(DRAIN_S)
            with trio.move_on_after(DRAIN_S):
                while self.server.connections:  # noqa: ASYNC110 (bounded; the server has no event for it)
                    await trio.sleep(0.02)
            nursery.cancel_scope.cancel()
        return again

    def _workers(self, listener: Listener, server: Server) -> Workers:
        """The further processes that the configuration wants, at the port that was bound."""
        house, http = self.house, self.house.settings.http
        settings = WorkerSettings(
            data=str(house.data.absolute()),
            socket=str((house.data / SOCKET).absolute()),
            http=msgspec.structs.replace(http, port=listener.port),
            log=house.settings.log,
            limits=server.limits,
        )
        return Workers(http.workers, settings, self.standing.notices.append)

    async def _until_told(self) -> bool:
        """Whether to stop is to begin anew: a snapshot is staged."""
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_after, self.snapshots.again, nursery.cancel_scope)
                async for number in signals:
                    _log.info("stopping: %s", signal.Signals(number).name)
                    nursery.cancel_scope.cancel()
                    return False
        return True

    # -- what peers say --

    def _offered(self, node: NodeId, manifest: bytes) -> Served | None:
        return self.shelf.served(node, manifest)

    def _on_message(self, node: NodeId, kind: int, payload: bytes) -> None:
        if not self.guests.may_say(node, kind, payload):
            return
        match kind:
            case Kind.CONSENSUS:
                self.agreement.receive(node, payload)
            case Kind.SHARE:
                self.sharer.receive(node, payload)
            case Kind.COSIGN:
                self.cosigning.receive(node, payload)
            case _:
                self.mesh.take(node, kind, payload)

    def _on_link(self, node: NodeId, up: bool) -> None:
        self.sharer.linked(node, up)
        self.mesh.linked(node, up)
        if up:
            self.agreement.linked(node)
            self.cosigning.welcome(node)

    def _on_fault(self, node: NodeId, why: str) -> None:
        self._blame(node, FAULT, why)

    def _blame(self, node: NodeId, points: float, why: str) -> None:
        self.scores.note(trio.current_time(), node, points, why)

    async def _on_submit(self, node: NodeId, raw: bytes) -> bytes:
        try:
            self.guests.may_submit(node)
        except Refusal as refusal:
            return write_refusal(refusal)
        return await self.reception.answer(node, raw)

    async def _on_document(self, _: NodeId, body: bytes) -> bytes:
        nothing(Method.DOCUMENT, body)
        return msgspec.json.encode(self.governing.document())

    def _take(self, raw: bytes) -> None:
        """Into our own mempool, and on to the other validators."""
        self.sharer.offer(raw)

    def _orders(self) -> bool:
        """Whether this node orders entries now."""
        return self.house.keys.node_id in self.epochs.committee.places

    def _validators(self) -> list[NodeId]:
        return [NodeId(one.node) for one in self.epochs.committee.validators]

    def _linked(self) -> list[NodeId]:
        return self.links.linked()

    def _others(self) -> int:
        """How many members there are beside this node."""
        return len(set(views.members(self.house.archive.state)) - {b32(self.house.keys.node_id)})


async def _cancel_after(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


def _on_ping(_: NodeId, body: bytes) -> bytes:
    nothing(Method.PING, body)
    return b""
