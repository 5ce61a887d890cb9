"""How files come to be whole: aside and renamed, with checksums, on a full disk, in a store far away."""
