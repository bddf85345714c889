-- The sum of the histograms `waits` of several rows of pgqueue.stats, bucket by bucket. This is faster than to unnest all arrays.
array[sum(j.waits[1]), sum(j.waits[2]), sum(j.waits[3]), sum(j.waits[4]), sum(j.waits[5]),
      sum(j.waits[6]), sum(j.waits[7]), sum(j.waits[8]), sum(j.waits[9]), sum(j.waits[10]),
      sum(j.waits[11]), sum(j.waits[12]), sum(j.waits[13]), sum(j.waits[14]), sum(j.waits[15]),
      sum(j.waits[16]), sum(j.waits[17]), sum(j.waits[18]), sum(j.waits[19]), sum(j.waits[20]),
      sum(j.waits[21]), sum(j.waits[22]), sum(j.waits[23]), sum(j.waits[24]), sum(j.waits[25]),
      sum(j.waits[26]), sum(j.waits[27]), sum(j.waits[28]), sum(j.waits[29]), sum(j.waits[30]),
      sum(j.waits[31]), sum(j.waits[32])]
