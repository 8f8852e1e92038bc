// Verifies an audit trail with Go's own implementation of signed notes and Merkle trees, which has nothing of ours:
//
//	audit KEY THEN NOW PROOFS
//
// THEN and NOW are files with signed checkpoints of one log. PROOFS has a line of JSON for each proof: that an event is in NOW, or that
// NOW begins with THEN. Needs golang.org/x/mod, which Debian has as golang-golang-x-mod-dev.
package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type proof struct {
	Leaf   *int64
	Event  []byte
	Hashes [][]byte
}

// checkpoint opens a signed note, and reads the size and the root of the tree in it.
func checkpoint(file string, verifier note.Verifier) tlog.Tree {
	text, err := os.ReadFile(file)
	check(err)
	opened, err := note.Open(text, note.VerifierList(verifier))
	check(err)
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() || lines[3] != "" {
		log.Fatalf("%s: not three lines, the first of them the origin", file)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	check(err)
	root, err := base64.StdEncoding.DecodeString(lines[2])
	check(err)
	return tlog.Tree{N: size, Hash: hash(root)}
}

func hash(bytes []byte) tlog.Hash {
	var hash tlog.Hash
	if copy(hash[:], bytes) != len(hash) || len(bytes) != len(hash) {
		log.Fatalf("a hash of %d bytes", len(bytes))
	}
	return hash
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	log.SetFlags(0)
	verifier, err := note.NewVerifier(os.Args[1])
	check(err)
	then, now := checkpoint(os.Args[2], verifier), checkpoint(os.Args[3], verifier)
	file, err := os.Open(os.Args[4])
	check(err)
	included, consistent := 0, 0
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var read proof
		check(json.Unmarshal(lines.Bytes(), &read))
		var hashes []tlog.Hash
		for _, bytes := range read.Hashes {
			hashes = append(hashes, hash(bytes))
		}
		if read.Leaf == nil {
			check(tlog.CheckTree(hashes, now.N, now.Hash, then.N, then.Hash))
			consistent++
		} else {
			check(tlog.CheckRecord(hashes, now.N, now.Hash, *read.Leaf, tlog.RecordHash(read.Event)))
			included++
		}
	}
	check(lines.Err())
	fmt.Printf("%d events of %d are in the log, %d times it begins with that of %d\n", included, now.N, consistent, then.N)
}
