// Checklog reads a log in the C2SP tlog-tiles layout from a folder and checks all of it with golang.org/x/mod:
// the checkpoint with sumdb/note, every tile and the root with sumdb/tlog, every entry by its record hash, tree
// proofs from smaller sizes, and every .tlog-proof file in the folder. It shares no code with Pyrsia.
//
//	checklog DIR VKEY [COSIGNER-VKEY]
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

// folder gives tiles of a log in files; x/mod names them tile/8/<level>/..., C2SP tile/<level>/...
type folder string

func (f folder) Height() int                     { return height }
func (f folder) SaveTiles([]tlog.Tile, [][]byte) {}
func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range tiles {
		data, err := os.ReadFile(filepath.Join(string(f), strings.Replace(tile.Path(), "tile/8/", "tile/", 1)))
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

// cosigner verifies cosignature/v1 lines, which x/mod knows nothing of.
type cosigner struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func (c cosigner) Name() string    { return c.name }
func (c cosigner) KeyHash() uint32 { return c.hash }
func (c cosigner) Verify(msg, sig []byte) bool {
	if len(sig) != 8+ed25519.SignatureSize {
		return false
	}
	text := fmt.Sprintf("cosignature/v1\ntime %d\n%s", binary.BigEndian.Uint64(sig), msg)
	return ed25519.Verify(c.key, []byte(text), sig[8:])
}

func newCosigner(vkey string) (note.Verifier, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return nil, errors.New("not a verifier key")
	}
	data, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(data) != 1+ed25519.PublicKeySize || data[0] != 4 {
		return nil, errors.New("not a cosigner's key")
	}
	sum := sha256.Sum256(append([]byte(parts[0]+"\n"), data...))
	hash := binary.BigEndian.Uint32(sum[:4])
	if fmt.Sprintf("%08x", hash) != parts[1] {
		return nil, errors.New("a key id of another key")
	}
	return cosigner{parts[0], hash, data[1:]}, nil
}

type checker struct {
	dir       string
	verifiers note.Verifiers
	signers   int
}

// head opens a signed checkpoint.
func (c checker) head(msg []byte) (tlog.Tree, error) {
	opened, err := note.Open(msg, c.verifiers)
	if err != nil {
		return tlog.Tree{}, err
	}
	if len(opened.Sigs) != c.signers {
		return tlog.Tree{}, fmt.Errorf("%d of %d known keys signed", len(opened.Sigs), c.signers)
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[3] != "" || lines[0] != opened.Sigs[0].Name {
		return tlog.Tree{}, errors.New("not a checkpoint of three lines of the log that signed it")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || strconv.FormatInt(size, 10) != lines[1] {
		return tlog.Tree{}, errors.New("not a size")
	}
	hash, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: hash}, err
}

// entries checks every entry against the tree's own hash of it; the count of bundles.
func (c checker) entries(tree tlog.Tree, hashes tlog.HashReader) (int, error) {
	bundles := 0
	for first := int64(0); first < tree.N; first += 1 << height {
		width := min(tree.N-first, 1<<height)
		tile := tlog.Tile{H: height, L: -1, N: first >> height, W: int(width)}
		path := strings.Replace(tile.Path(), "tile/8/data/", "tile/entries/", 1)
		data, err := os.ReadFile(filepath.Join(c.dir, path))
		if err != nil {
			return 0, err
		}
		var indexes []int64
		var records []tlog.Hash
		for at := int64(0); at < width; at++ {
			if len(data) < 2 || len(data) < 2+int(binary.BigEndian.Uint16(data)) {
				return 0, fmt.Errorf("%s ends early", path)
			}
			size := 2 + int(binary.BigEndian.Uint16(data))
			records = append(records, tlog.RecordHash(data[2:size]))
			indexes = append(indexes, tlog.StoredHashIndex(0, first+at))
			data = data[size:]
		}
		if len(data) > 0 {
			return 0, fmt.Errorf("%s goes on", path)
		}
		stored, err := hashes.ReadHashes(indexes)
		if err != nil {
			return 0, err
		}
		for at := range records {
			if records[at] != stored[at] {
				return 0, fmt.Errorf("entry %d is not the one in the tree", first+int64(at))
			}
		}
		bundles++
	}
	return bundles, nil
}

// growth proves that the tree grew from some smaller ones.
func growth(tree tlog.Tree, hashes tlog.HashReader) (int, error) {
	proofs := 0
	for _, old := range []int64{1, 2, 3, tree.N / 3, tree.N / 2, tree.N - 1, tree.N} {
		if old < 1 || old > tree.N {
			continue
		}
		hash, err := tlog.TreeHash(old, hashes)
		if err != nil {
			return 0, err
		}
		proof, err := tlog.ProveTree(tree.N, old, hashes)
		if err != nil {
			return 0, err
		}
		if err := tlog.CheckTree(proof, tree.N, tree.Hash, old, hash); err != nil {
			return 0, err
		}
		proofs++
	}
	return proofs, nil
}

// proofs checks each .tlog-proof file, and that Go's own proof is the same.
func (c checker) proofs(tree tlog.Tree, hashes tlog.HashReader) (int, error) {
	files, err := filepath.Glob(filepath.Join(c.dir, "*.tlog-proof"))
	if err != nil {
		return 0, err
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return 0, err
		}
		own, msg, found := bytes.Cut(data, []byte("\n\n"))
		lines := strings.Split(string(own), "\n")
		if !found || len(lines) < 2 || lines[0] != "c2sp.org/tlog-proof@v1" {
			return 0, fmt.Errorf("%s is no tlog-proof", file)
		}
		index, err := strconv.ParseInt(strings.TrimPrefix(lines[1], "index "), 10, 64)
		if err != nil {
			return 0, err
		}
		var proof tlog.RecordProof
		for _, line := range lines[2:] {
			hash, err := tlog.ParseHash(line)
			if err != nil {
				return 0, err
			}
			proof = append(proof, hash)
		}
		head, err := c.head(msg)
		if err != nil {
			return 0, err
		}
		record, err := hashes.ReadHashes([]int64{tlog.StoredHashIndex(0, index)})
		if err != nil {
			return 0, err
		}
		if err := tlog.CheckRecord(proof, head.N, head.Hash, index, record[0]); err != nil {
			return 0, fmt.Errorf("%s: %w", file, err)
		}
		theirs, err := tlog.ProveRecord(tree.N, index, hashes)
		if err != nil {
			return 0, err
		}
		if fmt.Sprint(theirs) != fmt.Sprint(proof) {
			return 0, fmt.Errorf("%s: another proof than Go's", file)
		}
	}
	return len(files), nil
}

func run(args []string) error {
	if len(args) != 2 && len(args) != 3 {
		return errors.New("checklog DIR VKEY [COSIGNER-VKEY]")
	}
	log, err := note.NewVerifier(args[1])
	if err != nil {
		return err
	}
	known := []note.Verifier{log}
	if len(args) == 3 {
		witness, err := newCosigner(args[2])
		if err != nil {
			return err
		}
		known = append(known, witness)
	}
	c := checker{args[0], note.VerifierList(known...), len(known)}
	msg, err := os.ReadFile(filepath.Join(c.dir, "checkpoint"))
	if err != nil {
		return err
	}
	tree, err := c.head(msg)
	if err != nil {
		return err
	}
	hashes := tlog.TileHashReader(tree, folder(c.dir))
	bundles, err := c.entries(tree, hashes)
	if err != nil {
		return err
	}
	grown, err := growth(tree, hashes)
	if err != nil {
		return err
	}
	proofs, err := c.proofs(tree, hashes)
	if err != nil {
		return err
	}
	fmt.Printf("ok: %d entries in %d bundles, %d tree proofs, %d proof files\n", tree.N, bundles, grown, proofs)
	return nil
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "checklog:", err)
		os.Exit(1)
	}
}
