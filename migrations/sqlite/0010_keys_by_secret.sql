-- A key that was deleted long ago is found by its secret in the books alone: for usage that is booked whatever became of its key.
CREATE INDEX key_directory_by_hash ON key_directory (hash);
