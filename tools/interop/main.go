// Interop holds what Pyrsia writes against other people's code: golang.org/x/mod for notes, transparency-dev for
// cosignatures, proof files, policies and trees, and a whole Tessera log for the witness protocol.
//
//	interop verify DIR             checkpoint, policy, proof.tlog-proof and leaf of a node
//	interop tessera URL VKEY DIR   a log by Tessera in DIR asks our witness at URL, with the key VKEY
//
// It prints one line for each thing that holds, and ends with 1 at the first that does not.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	flog "github.com/transparency-dev/formats/log"
	fnote "github.com/transparency-dev/formats/note"
	fproof "github.com/transparency-dev/formats/proof"
	fwitness "github.com/transparency-dev/formats/witness"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
)

func main() {
	var err error
	switch {
	case len(os.Args) == 3 && os.Args[1] == "verify":
		err = verify(os.Args[2])
	case len(os.Args) == 5 && os.Args[1] == "tessera":
		err = withTessera(os.Args[2], os.Args[3], os.Args[4])
	default:
		err = fmt.Errorf("usage: interop verify DIR | interop tessera URL VKEY DIR")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		os.Exit(1)
	}
}

// parties are the keys that a policy names, as verifiers of their own kind.
func parties(policy []byte) (logs, witnesses []note.Verifier, err error) {
	for _, line := range strings.Split(string(policy), "\n") {
		words := strings.Fields(line)
		switch {
		case len(words) >= 2 && words[0] == "log":
			v, err := note.NewVerifier(words[1])
			if err != nil {
				return nil, nil, fmt.Errorf("log line: %w", err)
			}
			logs = append(logs, v)
		case len(words) >= 3 && words[0] == "witness":
			v, err := fnote.NewVerifierForCosignatureV1(words[2])
			if err != nil {
				return nil, nil, fmt.Errorf("witness line: %w", err)
			}
			witnesses = append(witnesses, v)
		}
	}
	return logs, witnesses, nil
}

// withURLs gives each witness line an address: the reader below is a log's, which wants one.
func withURLs(policy []byte) []byte {
	var out strings.Builder
	for _, line := range strings.Split(string(policy), "\n") {
		if words := strings.Fields(line); len(words) == 3 && words[0] == "witness" {
			line += " http://localhost/"
		}
		out.WriteString(line + "\n")
	}
	return []byte(out.String())
}

func verify(dir string) error {
	files := map[string][]byte{}
	for _, name := range []string{"checkpoint", "policy", "proof.tlog-proof", "leaf"} {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		files[name] = raw
	}
	logs, witnesses, err := parties(files["policy"])
	if err != nil {
		return err
	}
	head, err := checkNote(files["checkpoint"], files["policy"], logs, witnesses)
	if err != nil {
		return err
	}
	fmt.Printf("ok  checkpoint at size %d, origin %s\n", head.Size, head.Origin)

	var file fproof.TLogProof
	if err := file.Unmarshal(files["proof.tlog-proof"]); err != nil {
		return err
	}
	if !bytes.Equal(file.Marshal(), files["proof.tlog-proof"]) {
		return fmt.Errorf("the proof file is written another way")
	}
	inner, err := checkNote(file.Checkpoint, files["policy"], logs, witnesses)
	if err != nil {
		return err
	}
	hashes := make([][]byte, len(file.Hashes))
	for i, hash := range file.Hashes {
		hashes[i] = hash[:]
	}
	leaf := rfc6962.DefaultHasher.HashLeaf(files["leaf"])
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, file.Index, inner.Size, leaf, hashes, inner.Hash); err != nil {
		return err
	}
	fmt.Printf("ok  proof file: leaf %d of %d\n", file.Index, inner.Size)
	return nil
}

func checkNote(raw, policy []byte, logs, witnesses []note.Verifier) (*flog.Checkpoint, error) {
	all := append(append([]note.Verifier{}, logs...), witnesses...)
	opened, err := note.Open(raw, note.VerifierList(all...))
	if err != nil {
		return nil, fmt.Errorf("note: %w", err)
	}
	var head flog.Checkpoint
	rest, err := head.Unmarshal([]byte(opened.Text))
	if err != nil || len(rest) != 0 {
		return nil, fmt.Errorf("checkpoint: %w, %d bytes left", err, len(rest))
	}
	group, err := fwitness.ParsePolicy(withURLs(policy))
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	if !group.Satisfied(raw) {
		return nil, fmt.Errorf("the policy is not satisfied by %d known signatures", len(opened.Sigs))
	}
	signed := false
	for _, log := range logs {
		for _, sig := range opened.Sigs {
			signed = signed || (sig.Name == log.Name() && sig.Hash == log.KeyHash())
		}
	}
	if !signed {
		return nil, fmt.Errorf("no log of the policy signed it")
	}
	fmt.Printf("ok  note: %d known signatures, %d unknown; the policy is satisfied\n", len(opened.Sigs), len(opened.UnverifiedSigs))
	return &head, nil
}

// withTessera grows a log and lets Tessera itself ask the witness: it publishes no checkpoint without.
func withTessera(witnessURL, vkey, dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	// The key stands in the file: the witness had to be told the log before it was started.
	skey, err := os.ReadFile(filepath.Join(dir, "log.key"))
	if err != nil {
		return err
	}
	signer, err := note.NewSigner(string(skey))
	if err != nil {
		return err
	}
	prefix, err := url.Parse(witnessURL)
	if err != nil {
		return err
	}
	asked, err := tessera.NewWitness(vkey, prefix)
	if err != nil {
		return err
	}
	driver, err := posix.New(ctx, posix.Config{Path: filepath.Join(dir, "log")})
	if err != nil {
		return err
	}
	options := tessera.NewAppendOptions().
		WithCheckpointSigner(signer).
		WithCheckpointInterval(time.Second).
		WithBatching(16, 100*time.Millisecond).
		WithWitnesses(tessera.NewWitnessGroup(1, asked), &tessera.WitnessOptions{Timeout: 5 * time.Second})
	appender, shutdown, reader, err := tessera.NewAppender(ctx, driver, options)
	if err != nil {
		return err
	}
	awaiter := tessera.NewPublicationAwaiter(ctx, reader.ReadCheckpoint, 200*time.Millisecond)
	witness, err := fnote.NewVerifierForCosignatureV1(vkey)
	if err != nil {
		return err
	}
	for number := 0; number < 5; number++ {
		entry := sha256.Sum256([]byte{byte(number)})
		index, raw, err := awaiter.Await(ctx, appender.Add(ctx, tessera.NewEntry(entry[:])))
		if err != nil {
			return fmt.Errorf("entry %d was not published: %w", number, err)
		}
		opened, err := note.Open(raw, note.VerifierList(witness))
		if err != nil {
			return fmt.Errorf("entry %d: %w", number, err)
		}
		size := strings.Split(opened.Text, "\n")[1]
		fmt.Printf("ok  tessera published entry %d at size %s with our cosignature\n", index.Index, size)
	}
	return shutdown(ctx)
}
